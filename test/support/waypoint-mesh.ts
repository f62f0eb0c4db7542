// SPDX-License-Identifier: Apache-2.0
// MeshLab under a controller, with a real waypoint before services of HTTP whose pod is cart. The waypoint runs in the
// namespace of the stranger, which no ztunnel serves, and has joined as a machine of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import { PODS, startControlledLab } from './controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from './controller-process.ts'
import { type LabPod, type LabRecord, type MeshLab, poll } from './mesh-lab.ts'
import { INSTANCES, instanceYaml, WaypointInstance } from './waypoint-instance.ts'
import { WAYPOINT_HOST } from './waypoint-lab.ts'

const SERVICE = fileURLToPath(new URL('./http-service.ts', import.meta.url))

export const RPC_PEER = fileURLToPath(new URL('./rpc-peer.ts', import.meta.url))

/** Services of HTTP: name → address and port of the pod. */
export const SERVICES = {
  web: { vip: '10.96.0.30', port: 8081 },
  'web-v1': { vip: '10.96.0.31', port: 8081 },
  'web-v2': { vip: '10.96.0.32', port: 8082 },
  rpc: { vip: '10.96.0.33', port: 8083 },
} as const

const service = (name: keyof typeof SERVICES, annotations: string): string =>
  `{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: shop, annotations: ${annotations}}, ` +
  `spec: {selector: {app: cart}, clusterIP: ${SERVICES[name].vip}, clusterIPs: [${SERVICES[name].vip}], ` +
  `ports: [{name: ${name === 'rpc' ? 'grpc' : 'http'}, port: 80, targetPort: ${SERVICES[name].port}}]}}`

/** The mesh with the service web behind the waypoint wp, and further objects; `instances` of it, so many of them ready. */
export function waypointCluster(objects: readonly string[], instances = 1, ready = instances): string {
  return [
    clusterYaml(PODS, []),
    '{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: shop}, spec: ' +
      '{gatewayClassName: sidestep-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}, ' +
      `status: {addresses: [{type: Hostname, value: ${WAYPOINT_HOST}}]}}`,
    ...INSTANCES.slice(0, instances).map((place, index) => instanceYaml(place, index < ready)),
    '{apiVersion: v1, kind: Service, metadata: {name: wp, namespace: shop}, spec: {' +
      'selector: {gateway.networking.k8s.io/gateway-name: wp}, clusterIP: 10.96.0.20, clusterIPs: [10.96.0.20], ' +
      'ports: [{name: hbone, port: 15008, targetPort: 15008}]}}',
    service('web', '{sidestep.dev/waypoint: wp}'),
    service('web-v1', '{}'),
    service('web-v2', '{}'),
    service('rpc', '{sidestep.dev/waypoint: wp}'),
    ...objects,
  ].join('\n---\n')
}

/** An answer as a caller sees it. */
export interface HttpAnswer {
  readonly status: number
  /** Names in lower case; of several the last. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The lab, its controller and the waypoint. */
export class WaypointMesh {
  readonly lab: MeshLab
  readonly controller: ControllerProcess
  /** INSTANCES: the first one runs from the start. */
  readonly instances: readonly WaypointInstance[]
  readonly #waypoint: WaypointInstance
  readonly #services = new Map<string, ChildProcess>()

  private constructor(
    lab: MeshLab,
    controller: ControllerProcess,
    options: Readonly<Record<string, string>>,
  ) {
    this.lab = lab
    this.controller = controller
    this.instances = INSTANCES.map((place) => new WaypointInstance(lab, controller, place, options))
    const [first] = this.instances
    if (first === undefined) throw new Error('no instance') // never
    this.#waypoint = first
  }

  /** Everything serves when this resolves; it ends with the test. */
  static start(t: Test, ...objects: readonly string[]): Promise<WaypointMesh> {
    return WaypointMesh.startWith(t, () => ({}), ...objects)
  }

  /** With more options of the waypoints, which may need the lab. */
  static async startWith(
    t: Test,
    optionsIn: (lab: MeshLab) => Readonly<Record<string, string>>,
    ...objects: readonly string[]
  ): Promise<WaypointMesh> {
    const strangers = Object.fromEntries(INSTANCES.slice(1).map(({ pod, ip }) => [pod, ip]))
    const { lab, controller } = await startControlledLab(t, () => ({}), strangers)
    const mesh = new WaypointMesh(lab, controller, optionsIn(lab))
    t.teardown(() => mesh.close())
    await controller.configure(waypointCluster(objects))
    await Promise.all([mesh.startService('v1'), mesh.startService('v2'), mesh.#waypoint.join()])
    mesh.startWaypoint()
    await mesh.untilReady()
    return mesh
  }

  /** Process id of the supervisor. */
  get supervisorPid(): number {
    return this.#waypoint.supervisorPid
  }

  untilReady(): Promise<void> {
    return this.#waypoint.untilReady()
  }

  admin(...asked: Parameters<WaypointInstance['admin']>): ReturnType<WaypointInstance['admin']> {
    return this.#waypoint.admin(...asked)
  }

  tap(...asked: Parameters<WaypointInstance['tap']>): ReturnType<WaypointInstance['tap']> {
    return this.#waypoint.tap(...asked)
  }

  get log(): string {
    return this.#waypoint.log
  }

  /** Records of the waypoint, oldest first. */
  records(): Promise<readonly LabRecord[]> {
    return this.#waypoint.records()
  }

  startWaypoint(): void {
    this.#waypoint.start()
  }

  /** One request to the service on a connection of its own. */
  call(pod: LabPod, request: string): Promise<HttpAnswer> {
    return this.callAt(pod, SERVICES.web.vip, 80, request)
  }

  async callAt(pod: LabPod, ip: string, port: number, request: string): Promise<HttpAnswer> {
    const socket = this.lab.connect(pod, ip, port)
    socket.write(request)
    await socket
      .until('an answer', ({ text, isClosed, hasEnded }) => isWhole(text) || isClosed || hasEnded)
      .catch((error: Error) => {
        throw new Error(`${error.message}\n${this.log}`)
      })
    socket.destroy()
    return parseAnswer(socket.text)
  }

  /** GET; `headers` are lines. */
  get(pod: LabPod, path: string, headers: readonly string[] = []): Promise<HttpAnswer> {
    return this.call(pod, [`GET ${path} HTTP/1.1`, 'host: web', ...headers, '', ''].join('\r\n'))
  }

  /** Runs a program in a pod; what it wrote. */
  async run(pod: LabPod, program: string, ...args: readonly string[]): Promise<string> {
    const start = (): ChildProcess => spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const child = this.lab.namespaceOf(pod).run(start)
    let text = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk
    })
    await once(child, 'close')
    return text
  }

  /** Serves gRPC behind the service rpc. */
  async startRpc(): Promise<void> {
    await this.startInCart('rpc', '--no-warnings', RPC_PEER, 'server', String(SERVICES.rpc.port))
  }

  /** Listens in place of v1, says `answer` to everybody, and ends. */
  async startBreaking(answer: string): Promise<void> {
    const script =
      "require('net').createServer((s)=>{s.on('error',()=>{});s.once('data',()=>s.end(process.argv[2],'latin1'))})" +
      ".listen(+process.argv[1],'0.0.0.0',()=>console.log('up'));process.stdin.on('end',()=>process.exit()).resume()"
    await this.startInCart('breaking', '-e', script, String(SERVICES['web-v1'].port), answer)
  }

  /** Calls again and again until it is stopped; then all statuses. */
  callOn(pod: LabPod): { readonly stop: () => Promise<readonly number[]> } {
    const statuses: number[] = []
    let isStopped = false
    const calling = (async () => {
      while (!isStopped) statuses.push((await this.get(pod, '/')).status)
    })()
    return {
      stop: async () => {
        isStopped = true
        await calling
        return statuses
      },
    }
  }

  /** Another configuration; it is in force once `holds` of an answer to GET /. */
  async configure(objects: readonly string[], holds: (answer: HttpAnswer) => boolean): Promise<void> {
    await this.controller.configure(waypointCluster(objects))
    await poll('the configuration in force', async () => holds(await this.get('front', '/')) || null)
  }

  async startService(name: 'v1' | 'v2'): Promise<void> {
    await this.startInCart(name, '--no-warnings', SERVICE, name, String(SERVICES[`web-${name}`].port))
  }

  async stopService(name: string): Promise<void> {
    const child = this.#services.get(name)
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.stdin?.end()
    await ended
  }

  /** Process id of the data process that serves. */
  async dataPid(): Promise<number> {
    const status = JSON.parse((await this.admin('/status')).body) as { readonly pid: number } // as: the route's answer
    return status.pid
  }

  /** Of the one that serves after it. */
  nextDataPid(before: number): Promise<number> {
    return poll('the next data process', async () => {
      const pid = await this.dataPid().catch(() => before)
      return pid === before ? null : pid
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.instances.map((each) => each.close()))
    for (const name of this.#services.keys()) await this.stopService(name)
  }

  /** A program of Node that says a line when it is up, and ends when its standard input does. */
  async startInCart(name: string, ...args: readonly string[]): Promise<void> {
    const start = (): ChildProcess =>
      spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], env: AGENT_ENVIRONMENT })
    const child = this.lab.namespaceOf('cart').run(start)
    this.#services.set(name, child)
    if (child.stdout !== null) await once(child.stdout, 'data')
  }
}

/** True when a head and all of its body are there. */
function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return false
  const head = text.slice(0, end).toLowerCase()
  const body = text.slice(end + 4)
  if (/transfer-encoding: chunked/.test(head)) return body.endsWith('0\r\n\r\n')
  const length = /content-length: (\d+)/.exec(head)?.[1]
  return length !== undefined && body.length >= Number(length)
}

function parseAnswer(text: string): HttpAnswer {
  const end = text.indexOf('\r\n\r\n')
  const [line = '', ...fields] = text.slice(0, end).split('\r\n')
  const headers = Object.fromEntries(
    fields.map((field) => {
      const colon = field.indexOf(':')
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()]
    }),
  )
  const raw = text.slice(end + 4)
  const isChunked = headers['transfer-encoding'] === 'chunked'
  const body = isChunked ? raw.replace(/(^|\r\n)[0-9a-f]+\r\n/g, '') : raw
  return { status: Number(line.split(' ')[1] ?? '0'), headers, body }
}
