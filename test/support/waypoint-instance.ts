// SPDX-License-Identifier: Apache-2.0
// One real process pair of the waypoint of a WaypointMesh, in a namespace that no ztunnel serves. It joins as a machine of
// its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { seedCompileCache } from './compile-caches.ts'
import type { ControllerProcess } from './controller-process.ts'
import { type LabRecord, type MeshLab, poll } from './mesh-lab.ts'
import { requestUnix } from './unix-http.ts'
import { identity, WAYPOINT_IP } from './waypoint-lab.ts'

const SUPERVISOR = fileURLToPath(new URL('../../waypoint/supervisor/main.ts', import.meta.url))

/** Those that a test may have: the pod each runs in, its address, its node. The first one runs from the start. */
export const INSTANCES = [
  { name: 'wp-0', pod: 'stranger', ip: WAYPOINT_IP, node: 'n9' },
  { name: 'wp-1', pod: 'stranger-1', ip: '10.1.0.4', node: 'n9-1' },
  { name: 'wp-2', pod: 'stranger-2', ip: '10.1.0.5', node: 'n9-2' },
] as const
export type InstancePlace = (typeof INSTANCES)[number]

/** The pod of an instance. */
export function instanceYaml({ name, ip, node }: InstancePlace, isReady: boolean): string {
  const labels = '{gateway.networking.k8s.io/gateway-name: wp, sidestep.dev/mode: none}'
  return (
    `{apiVersion: v1, kind: Pod, metadata: {name: ${name}, namespace: shop, labels: ${labels}}, ` +
    `spec: {nodeName: ${node}, serviceAccountName: wp, containers: [{name: main}]}, status: {phase: Running, ` +
    `podIP: ${ip}, podIPs: [{ip: ${ip}}], conditions: [{type: Ready, status: "${isReady ? 'True' : 'False'}"}]}}`
  )
}

export class WaypointInstance {
  readonly #lab: MeshLab
  readonly #controller: ControllerProcess
  readonly #place: InstancePlace
  readonly #options: Readonly<Record<string, string>>
  /** Apart from the test's directory, whose path may be longer than that of a Unix socket. */
  readonly #sockets = mkdtempSync(join(tmpdir(), 'sidestep-waypoint-'))
  #supervisor: ChildProcess | null = null

  /** `options` of it, beside those that every instance has. */
  constructor(
    lab: MeshLab,
    controller: ControllerProcess,
    place: InstancePlace,
    options: Readonly<Record<string, string>>,
  ) {
    this.#options = options
    this.#lab = lab
    this.#controller = controller
    this.#place = place
  }

  /** Process id of the supervisor. */
  get supervisorPid(): number {
    return this.#supervisor?.pid ?? -1
  }

  get log(): string {
    return readFileSync(this.#file('log'), 'utf8').slice(-6000)
  }

  /** Gets the token that it starts with, and a compile cache. */
  async join(): Promise<void> {
    await seedCompileCache(join(this.#sockets, 'admin.sock'), 'waypoint')
    const token = await this.#controller.joinToken(this.#place.node, [identity('wp')])
    writeFileSync(this.#file('token'), token, { mode: 0o600 })
  }

  start(): void {
    const { name, pod, ip, node } = this.#place
    const log = openSync(this.#file('log'), 'a', 0o600)
    const environment = {
      SIDESTEP_POD_NAME: name,
      SIDESTEP_POD_NAMESPACE: 'shop',
      SIDESTEP_SERVICE_ACCOUNT: 'wp',
      SIDESTEP_GATEWAY_NAME: 'wp',
      SIDESTEP_INSTANCE_IP: ip,
      SIDESTEP_NODE_NAME: node,
      SIDESTEP_CONTROLLER_ADDRESSES: this.#controller.address,
      SIDESTEP_CONTROLLER_ROOTS: this.#controller.rootsFile,
      SIDESTEP_CONTROLLER_TOKEN: this.#file('token'),
      SIDESTEP_STATE_DIRECTORY: this.#file('state'),
      SIDESTEP_ADMIN_SOCKET: join(this.#sockets, 'admin.sock'),
      SIDESTEP_RECORDS: this.#file('records'),
      SIDESTEP_DRAIN_SECONDS: '2',
      ...this.#options,
    }
    const start = (): ChildProcess =>
      spawn(process.execPath, ['--no-warnings', SUPERVISOR], {
        stdio: ['ignore', log, log],
        env: environment,
      })
    this.#supervisor = this.#lab.network.pod(pod).namespace.run(start)
    closeSync(log)
  }

  async untilReady(): Promise<void> {
    await poll(`${this.#place.name} ready`, async () => {
      const answer = await this.admin('/ready').catch(() => null)
      return answer?.status === 200 || null
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log}`)
    })
  }

  admin(
    path: string,
    method: 'GET' | 'POST' = 'GET',
  ): Promise<{ readonly status: number; readonly body: string }> {
    return requestUnix(join(this.#sockets, 'admin.sock'), method, path)
  }

  /** Requests as they end, of a tap; it ends with the signal. */
  async *tap(query: string, signal: AbortSignal): AsyncGenerator<LabRecord> {
    const asked = request({ socketPath: join(this.#sockets, 'admin.sock'), path: `/tap?${query}`, signal })
    asked.end()
    const [answer] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event has
    for await (const line of createInterface({ input: answer }))
      if (line !== '') yield JSON.parse(line) as LabRecord // as: the waypoint's own lines
  }

  /** Its records, oldest first. */
  async records(): Promise<readonly LabRecord[]> {
    const { body } = await this.admin('/records')
    return body.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as LabRecord])) // as: lines of ours
  }

  /** As Kubernetes ends a pod. */
  async stop(): Promise<void> {
    const supervisor = this.#supervisor
    if (supervisor === null || supervisor.exitCode !== null || supervisor.signalCode !== null) return
    const ended = once(supervisor, 'exit')
    supervisor.kill('SIGTERM')
    await ended
  }

  async close(): Promise<void> {
    await this.stop()
    rmSync(this.#sockets, { recursive: true, force: true })
  }

  #file(kind: string): string {
    return join(this.#lab.directory, `${this.#place.name}.${kind}`)
  }
}
