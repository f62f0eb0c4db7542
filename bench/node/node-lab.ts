// SPDX-License-Identifier: Apache-2.0
// A controller on a directory of YAML, and the ztunnel of one node that follows it: supervisor and data process, pods in
// network namespaces of their own, joined by token. All as in production; nothing of it outlives close().
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import { childrenOf } from '../measure/process-usage.ts'
import { type LoggedProcess, Processes } from '../processes.ts'
import { firstFiles, meshFiles, NODE, type NodePod, podsOfNode } from './mesh-files.ts'

const CONTROLLER = fileURLToPath(new URL('../../controller/main.ts', import.meta.url))
const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))
const PORT = 15_012
const DEADLINE_MS = 120_000

/** What `/workers` of the ztunnel's admin answers. */
export interface WorkersAnswer {
  readonly model: {
    readonly version: number
    readonly workloads: number
    readonly services: number
    readonly policies: number
    readonly inForce: { readonly version: number; readonly totalMs: number; readonly sentMs: number } | null
  }
  readonly workers: readonly {
    readonly worker: number
    readonly longestTurnMs: number
    readonly longestTurnCpuMs: number | null
    readonly longestTrimMs: number
  }[]
}

/** Asks until it holds. @throws Error after two minutes */
export async function until<T>(what: string, get: () => Promise<T | null>, everyMs = 20): Promise<T> {
  for (const endMs = performance.now() + DEADLINE_MS; performance.now() < endMs; await wait(everyMs)) {
    const value = await get()
    if (value !== null) return value
  }
  throw new Error(`${what}: not within ${DEADLINE_MS} ms`)
}

/** One controller and one node. */
export class NodeLab {
  readonly directory = mkdtempSync(join(tmpdir(), 'bench-node-'))
  readonly #network: VirtualNetwork
  readonly #processes: Processes
  readonly #pods: readonly NodePod[]
  #supervisor: LoggedProcess | null = null
  /** From the moment all pods are named until every worker serves every one of them, with its certificate. */
  enrolledMs = Number.NaN

  private constructor(pods: readonly NodePod[]) {
    this.#pods = pods
    this.#processes = new Processes(this.directory, process.env.PATH ?? '')
    const named = pods.map(({ name, ip }, index) => ({ name: `${index}-${name}`, ip }))
    this.#network = VirtualNetwork.create({ nodes: [{ name: 'node', pods: named }, { name: 'control' }] })
  }

  /** Both are up; the controller knows nothing but the services of the node. @throws Error */
  static async open(podCount: number, nodeOptions: Readonly<Record<string, string>> = {}): Promise<NodeLab> {
    const lab = new NodeLab(podsOfNode().slice(0, podCount))
    try {
      await lab.#start(nodeOptions)
      return lab
    } catch (error) {
      const log = lab.#supervisor?.logEnd() ?? ''
      await lab.close()
      throw new Error(`${error}\n${log}`)
    }
  }

  /** Supervisor and data process. */
  get pids(): readonly number[] {
    const pid = this.#supervisor?.pid ?? -1
    return [pid, ...childrenOf(pid)]
  }

  /** What the ztunnel says of its workers; the longest turn is counted anew from here on. */
  async workers(): Promise<WorkersAnswer> {
    return JSON.parse((await this.#ask('node.sock', 'GET', '/workers')).text)
  }

  /** Lets the whole mesh appear before the controller at once. */
  addMesh(): void {
    const staged = join(this.directory, 'mesh')
    mkdirSync(staged)
    for (const [name, text] of meshFiles()) writeFileSync(join(staged, name), text)
    renameSync(staged, join(this.directory, 'config', 'mesh'))
  }

  /** Replaces a file of the mesh. */
  write(name: string, text: string): void {
    const path = join(this.directory, 'config', 'mesh', name)
    writeFileSync(`${path}.new`, text)
    renameSync(`${path}.new`, path)
  }

  async close(): Promise<void> {
    await this.#processes.close()
    this.#network.close()
    rmSync(this.directory, { recursive: true, force: true })
  }

  async #start(nodeOptions: Readonly<Record<string, string>>): Promise<void> {
    const file = (name: string): string => join(this.directory, name)
    mkdirSync(file('config'))
    for (const [name, text] of firstFiles()) writeFileSync(join(file('config'), name), text)
    const { ip, namespace } = this.#network.node('control')
    const controller = this.#processes.start(namespace, process.execPath, [
      ...['--no-warnings', CONTROLLER, '--config-directory', file('config'), '--log-level', 'warn'],
      ...['--listen-host', '0.0.0.0', '--listen-port', String(PORT), '--server-names', ip],
      ...['--state-directory', file('controller'), '--admin-socket', file('controller.sock')],
    ])
    await this.#ready('controller.sock', controller)
    writeFileSync(file('roots.pem'), (await this.#ask('controller.sock', 'GET', '/ca/roots')).text)
    const identities = this.#pods.map(
      (pod) => `spiffe://cluster.local/ns/${pod.namespace}/sa/${pod.serviceAccount}`,
    )
    const body = JSON.stringify({ node: NODE, identities })
    const { token } = JSON.parse((await this.#ask('controller.sock', 'POST', '/join-tokens', body)).text)
    writeFileSync(file('token'), token, { mode: 0o600 })
    this.#enrol([])
    this.#supervisor = this.#processes.start(
      this.#network.node('node').namespace,
      process.execPath,
      ['--no-warnings', SUPERVISOR],
      {
        SIDESTEP_NODE_NAME: NODE,
        SIDESTEP_CONTROLLER_ADDRESSES: `${ip}:${PORT}`,
        SIDESTEP_CONTROLLER_ROOTS: file('roots.pem'),
        SIDESTEP_CONTROLLER_TOKEN: file('token'),
        SIDESTEP_STATE_DIRECTORY: file('state'),
        SIDESTEP_ENROLMENT_FILE: file('enrolment.yaml'),
        SIDESTEP_ADMIN_SOCKET: file('node.sock'),
        SIDESTEP_RECORDS: file('records'),
        SIDESTEP_LOG_LEVEL: 'warn',
        SIDESTEP_WORKER_COUNT: '2',
        SIDESTEP_DRAIN_SECONDS: '0',
        ...nodeOptions,
      },
    )
    await this.#ready('node.sock', this.#supervisor)
    const startedMs = performance.now()
    this.#enrol(this.#enrolment())
    await until('all pods are served', async () => {
      const { text } = await this.#ask('node.sock', 'GET', '/metrics')
      return new RegExp(`^workload_manager_active_proxy_count ${this.#pods.length}$`, 'm').test(text) || null
    })
    await this.#ready('node.sock', this.#supervisor)
    this.enrolledMs = performance.now() - startedMs
  }

  #enrol(pods: readonly object[]): void {
    const path = join(this.directory, 'enrolment.yaml')
    writeFileSync(`${path}.new`, JSON.stringify({ pods }))
    renameSync(`${path}.new`, path)
  }

  #enrolment(): object[] {
    return this.#pods.map(({ name, namespace, serviceAccount }, index) => ({
      ...{ uid: `u-${name}`, name, namespace, serviceAccount },
      netns: this.#network.pods[index]?.namespace.path ?? '',
    }))
  }

  #ready(socket: string, process: LoggedProcess): Promise<true> {
    return until(`${socket} ready`, async () => {
      if (process.hasEnded) throw new Error(`${socket}: the process has ended\n${process.logEnd()}`)
      const answer = await this.#ask(socket, 'GET', '/ready').catch(() => null)
      return answer?.status === 200 || null
    })
  }

  async #ask(
    socket: string,
    method: string,
    path: string,
    body = '',
  ): Promise<{ readonly status: number; readonly text: string }> {
    const headers = body === '' ? {} : { 'content-type': 'application/json', 'content-length': body.length }
    return new Promise((resolve, reject) => {
      const socketPath = join(this.directory, socket)
      const asked = request({ socketPath, method, path, headers, agent: false }, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      })
      asked.on('error', reject)
      asked.end(body)
    })
  }
}
