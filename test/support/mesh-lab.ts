// SPDX-License-Identifier: Apache-2.0
// Two nodes with real ztunnels and real pods: front, batch and a stranger that is not enrolled on n1, cart on n2.
// Everything is observed from outside: sockets in the pods, admin sockets, files, /proc.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VirtualNetwork, type VirtualPodSpec } from '../../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { RECENT_RECORDS } from '../../mesh/telemetry/record-writer.ts'
import { AGENT_ENVIRONMENT, seedCompileCache } from './compile-caches.ts'
import { ownMs } from './own-time.ts'
import type { AgentCommand, AgentEvent } from './pod-agent.ts'

const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))
const AGENT = fileURLToPath(new URL('./pod-agent.ts', import.meta.url))
const POLL_MS = 20
/** Longest wait for anything: far above what it takes, so that only a defect meets it. */
const DEADLINE_MS = 40_000
/** What an application has told is kept: more than any test asks for. */
const MAX_HEARD = 200
const NODES = { n1: ['front', 'batch'], n2: ['cart'] } as const
const IPS = { front: '10.1.0.1', batch: '10.1.0.2', stranger: '10.1.0.3', cart: '10.2.0.1' } as const

export type LabNode = keyof typeof NODES
export type LabPod = keyof typeof IPS
/** A parsed record line. */
export type LabRecord = Readonly<Record<string, string | number>>

/** Polls until `get` gives something but null; `what` names it when it never does. What others take of the machine does not count. */
export async function poll<T>(
  what: string,
  get: () => T | null | Promise<T | null>,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  for (const endMs = ownMs() + deadlineMs; ownMs() < endMs; ) {
    const startMs = performance.now()
    const value = await get()
    if (value !== null) return value
    // What is expensive to ask, by a program of its own, would else have a processor for itself.
    await wait(Math.max(POLL_MS, performance.now() - startMs))
  }
  throw new Error(`${what}: not within ${deadlineMs} ms`)
}

/** The configuration; `denied` are the service accounts cart refuses. */
export function labMesh(denied: readonly string[]): string {
  const workload = (name: string, ip: string, node: string, services: string): string =>
    `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local, ` +
    `workloadIps: ["${ip}"], protocol: HBONE, node: ${node}, services: ${services}}\n`
  const policy = (name: string): string =>
    `- {name: no-${name}, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ` +
    `rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/${name}]}]]]}\n`
  const host = 'cart.shop.svc.cluster.local'
  return (
    'workloads:\n' +
    workload('front', IPS.front, 'n1', '{}') +
    workload('batch', IPS.batch, 'n1', '{}') +
    workload('cart', IPS.cart, 'n2', `{"shop/${host}": {80: 8080}}`) +
    `services:\n- {name: cart, namespace: shop, hostname: ${host}, vips: ["/10.96.0.10"], ports: {80: 8080}}\n` +
    `policies:\n${denied.map(policy).join('')}`
  )
}

/** A connection inside a pod, seen through its agent. */
export class LabSocket {
  text = ''
  error = ''
  isConnected = false
  hasEnded = false
  isClosed = false
  readonly #send: (type: AgentCommand['type'], text: string) => void

  constructor(send: (type: AgentCommand['type'], text: string) => void) {
    this.#send = send
  }
  write(text: string): void {
    this.#send('write', text)
  }
  /** Writes BULK_BYTES of the pattern, then ends. */
  writeBulk(): void {
    this.#send('bulk', '')
  }
  end(): void {
    this.#send('end', '')
  }
  /** Breaks off. */
  reset(): void {
    this.#send('reset', '')
  }
  destroy(): void {
    this.#send('destroy', '')
  }
  /** Reads a connection that was opened paused to its end; `text` is then `<bytes> <sha256>`. */
  count(): void {
    this.#send('count', '')
  }
  /** Waits until `holds(this)`. */
  async until(what: string, holds: (socket: LabSocket) => boolean, deadlineMs = DEADLINE_MS): Promise<void> {
    await poll(what, () => holds(this) || null, deadlineMs).catch((error: Error) => {
      const { isConnected, hasEnded, isClosed, text } = this
      throw new Error(
        `${error.message} (${JSON.stringify({ isConnected, hasEnded, isClosed, error: this.error, text })})`,
      )
    })
  }
  onEvent({ type, text }: AgentEvent): void {
    if (type === 'connected') this.isConnected = true
    else if (type === 'data') this.text += text
    else if (type === 'end') this.hasEnded = true
    else if (type === 'error') this.error = text
    else this.isClosed = true
  }
}

/** Owns every process and namespace it started. */
export class MeshLab {
  readonly directory: string
  readonly network: VirtualNetwork
  readonly #options: Readonly<Record<string, string>>
  #nodeOptions: Readonly<Record<LabNode, Readonly<Record<string, string>>>> = { n1: {}, n2: {} }
  /** Apart from the test's directory, whose path may be longer than the 107 bytes a Unix socket's may have. */
  readonly #adminDirectory = mkdtempSync(join(tmpdir(), 'sidestep-lab-'))
  /** Pods with an application; `prepare` may name others. */
  serving: readonly LabPod[] = ['cart']
  /** The pods each node begins with. */
  enrolled: Readonly<Record<LabNode, readonly LabPod[]>> = NODES
  readonly #nodes = new Map<LabNode, ChildProcess>()
  /** Supervisors that were followed by another one. */
  readonly #replaced = new Set<ChildProcess>()
  readonly #agents = new Map<LabPod, ChildProcess>()
  readonly #sockets = new Map<number, LabSocket>()
  readonly #heard = new Map<LabPod, string[]>()

  private constructor(
    directory: string,
    options: Readonly<Record<string, string>>,
    strangers: Readonly<Record<string, string>>,
    ips6: Partial<Readonly<Record<LabPod, string>>>,
  ) {
    this.directory = directory
    this.#options = options
    const pod = (name: LabPod): VirtualPodSpec => ({ name, ip: IPS[name], ip6: ips6[name] ?? '' })
    const more = Object.entries(strangers).map(([name, ip]) => ({ name, ip }))
    this.network = VirtualNetwork.create({
      nodes: [
        { name: 'n1', pods: [pod('front'), pod('batch'), pod('stranger'), ...more] },
        { name: 'n2', pods: [pod('cart')] },
        { name: 'control' },
      ],
    })
  }

  /**
   * Everything serves when this resolves. `directory` is the test's own, `options` are further SIDESTEP_… of both.
   * `prepare` runs before the nodes start and may give options of each. `strangers`: addresses of further pods of n1 that
   * nobody serves, by name. `ips6`: addresses that pods have beside their own.
   */
  static async start(
    directory: string,
    mesh: string,
    options: Readonly<Record<string, string>> = {},
    prepare?: (lab: MeshLab) => Promise<Readonly<Record<LabNode, Readonly<Record<string, string>>>>>,
    strangers: Readonly<Record<string, string>> = {},
    ips6: Partial<Readonly<Record<LabPod, string>>> = {},
  ): Promise<MeshLab> {
    await mkdir(join(directory, 'records'), { recursive: true })
    const lab = new MeshLab(directory, options, strangers, ips6)
    try {
      await mkdir(join(directory, 'ca'), { mode: 0o700 })
      await lab.configure(mesh)
      if (prepare !== undefined) lab.#nodeOptions = await prepare(lab)
      for (const name of ['n1', 'n2'] as const) await lab.#startNode(name)
      await Promise.all(
        (['front', 'batch', 'stranger', 'cart'] as const).map((name) => lab.#startAgent(name)),
      )
      await Promise.all((['n1', 'n2'] as const).map((name) => lab.ready(name)))
      return lab
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  /** Replaces the configuration as a whole. */
  async configure(mesh: string): Promise<void> {
    const path = join(this.directory, 'mesh.yaml')
    await writeFile(`${path}.new`, mesh)
    await rename(`${path}.new`, path)
  }

  namespaceOf(pod: LabPod): NetworkNamespace {
    return this.network.pod(pod).namespace
  }

  /** Opens a connection from inside `pod`. */
  connect(pod: LabPod, ip: string, port: number, mode: '' | 'paused' = ''): LabSocket {
    const id = this.#sockets.size + 1
    const send = (type: AgentCommand['type'], text: string): void => {
      this.#agents.get(pod)?.send({ type, id, ip, port, text } satisfies AgentCommand)
    }
    const socket = new LabSocket(send)
    this.#sockets.set(id, socket)
    send('connect', mode)
    return socket
  }

  /** Where the ztunnel of a node answers. */
  adminSocket(node: LabNode): string {
    return join(this.#adminDirectory, `${node}.sock`)
  }

  /** What the ztunnel of a node answers; throws while nobody listens. */
  async admin(
    node: LabNode,
    path: string,
    method: 'GET' | 'POST' = 'GET',
  ): Promise<{ readonly status: number; readonly text: string }> {
    const socketPath = this.adminSocket(node)
    const signal = AbortSignal.timeout(method === 'GET' ? 2000 : 4000)
    const asked = request({ socketPath, path, method, agent: false, signal }).end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return { status: response.statusCode ?? 0, text }
  }

  /** Waits until the node serves. */
  async ready(node: LabNode): Promise<void> {
    await poll(`${node} ready`, async () => {
      const answer = await this.admin(node, '/ready').catch(() => null)
      return answer?.status === 200 || null
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log(node)}`)
    })
  }

  /** The records the node has kept. */
  async records(node: LabNode): Promise<LabRecord[]> {
    const { text } = await this.admin(node, '/records')
    const lines = text.split('\n').filter((line) => line !== '')
    return lines.map((line) => JSON.parse(line) as LabRecord) // as: the ztunnel's own lines
  }

  /** The CA of both nodes, its key included: there with the first certificate. */
  async rootPem(): Promise<string> {
    const path = join(this.directory, 'ca', 'root.pem')
    return await poll('the CA', () => (existsSync(path) ? readFileSync(path, 'utf8') : null))
  }

  /** All records that the node has written, those of processes before too. */
  writtenRecords(node: LabNode): LabRecord[] {
    const path = join(this.directory, 'records', node)
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '' // there with the first one
    const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as LabRecord) // as: the ztunnel's own lines
  }

  /** Waits for records that match, beyond the first `known`; gives all of those. */
  async recordsAfter(
    node: LabNode,
    known: number,
    holds: (record: LabRecord) => boolean,
  ): Promise<LabRecord[]> {
    let seen: LabRecord[] = []
    return await poll(`a record at ${node}`, async () => {
      const kept = await this.records(node)
      // Then the first of them have gone, and `known` says nothing.
      if (known > 0 && kept.length >= RECENT_RECORDS)
        throw new Error('more records than a node keeps: see writtenRecords()')
      seen = kept.slice(known)
      return seen.some(holds) ? seen.filter(holds) : null
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(seen)}`)
    })
  }

  log(node: LabNode): string {
    return readFileSync(join(this.directory, `${node}.log`), 'utf8').slice(-4000)
  }

  /** What the application of a pod has told of its connections, `<port> <what>`, the last ones. */
  heard(pod: LabPod): readonly string[] {
    return this.#heard.get(pod) ?? []
  }

  /** The process in a pod. */
  pidOf(pod: LabPod): number {
    return this.#agents.get(pod)?.pid ?? 0
  }

  /** The children of the node's supervisor: its data process. */
  dataPids(node: LabNode): number[] {
    const pid = this.#nodes.get(node)?.pid
    const path = `/proc/${pid}/task/${pid}/children`
    if (!existsSync(path)) return []
    return readFileSync(path, 'latin1').split(' ').filter(Boolean).map(Number)
  }

  /** The supervisor of a node. */
  supervisorPid(node: LabNode): number {
    return this.#nodes.get(node)?.pid ?? 0
  }

  /** Ends both processes of a node as a crash would. */
  async kill(node: LabNode): Promise<void> {
    const data = this.dataPids(node)
    await this.killSupervisor(node)
    // Where the supervisor fell first, its data process is nobody's child any more.
    for (const pid of data) if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL')
    await poll(`${node} is dead`, () => data.every((pid) => !existsSync(`/proc/${pid}`)) || null)
  }

  /** Ends the supervisor as a crash would; its data process lives on. */
  async killSupervisor(node: LabNode): Promise<void> {
    const child = this.#nodes.get(node)
    child?.kill('SIGKILL')
    await poll(`${node} is dead`, () => (child !== undefined && hasExited(child)) || null)
  }

  /** Asks the supervisor of a node for the next generation of its data process. */
  upgrade(node: LabNode): void {
    this.#nodes.get(node)?.kill('SIGHUP')
  }

  /** Starts the next supervisor of a node that has one, which is the node's from then on. Gives the one before. */
  async startNext(node: LabNode): Promise<ChildProcess> {
    const before = this.#nodes.get(node)
    if (before === undefined) throw new Error(`${node} was never started`)
    await this.#startNode(node)
    this.#replaced.add(before)
    return before
  }

  /** Starts the supervisor of a node again, after the last one has ended. */
  async revive(node: LabNode): Promise<void> {
    await this.#startNode(node)
  }

  /** Sends SIGTERM and waits for the end of the supervisor: its exit code or signal. */
  async stop(node: LabNode): Promise<string> {
    const child = this.#nodes.get(node)
    if (child === undefined) return 'never started'
    child.kill('SIGTERM')
    await poll(`${node} ended`, () => (hasExited(child) ? true : null))
    return String(child.exitCode ?? child.signalCode)
  }

  /** Stops a node and starts it again, with these options beside its own; it serves when this resolves. */
  async restart(node: LabNode, options: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.stop(node)
    this.#nodeOptions = { ...this.#nodeOptions, [node]: { ...this.#nodeOptions[node], ...options } }
    await this.#startNode(node)
    await this.ready(node)
  }

  /** Ends what still runs. Idempotent. */
  async close(): Promise<void> {
    for (const agent of this.#agents.values()) if (agent.connected) agent.disconnect()
    const names = [...this.#nodes].filter(([, child]) => !hasExited(child)).map(([name]) => name)
    await Promise.all(
      names.map((name) => this.stop(name).catch(() => this.#nodes.get(name)?.kill('SIGKILL'))),
    )
    // What drained under them has ended with the nodes.
    for (const child of this.#replaced) child.kill('SIGTERM')
    await poll('those before have ended', () => [...this.#replaced].every(hasExited) || null).catch(() => {
      for (const child of this.#replaced) child.kill('SIGKILL')
    })
    this.network.close()
    rmSync(this.#adminDirectory, { recursive: true, force: true })
  }

  /** Names the pods that a node serves; `extra` are lines of further pods. */
  async enrol(name: LabNode, names: readonly LabPod[], extra = ''): Promise<void> {
    const pods = names.map(
      (pod) =>
        `- {uid: u-${pod}, name: ${pod}, namespace: shop, serviceAccount: ${pod}, netns: ${this.namespaceOf(pod).path}}\n`,
    )
    const path = join(this.directory, `${name}.yaml`)
    const list = pods.join('') + extra
    await writeFile(`${path}.new`, `pods:${list === '' ? ' []' : `\n${list}`}\n`)
    await rename(`${path}.new`, path)
  }

  async #startNode(name: LabNode): Promise<void> {
    const file = (ending: string): string => join(this.directory, `${name}.${ending}`)
    await this.enrol(name, this.enrolled[name])
    const log = openSync(file('log'), 'a', 0o600)
    const env = {
      SIDESTEP_NODE_NAME: name,
      SIDESTEP_CONFIG_FILE: join(this.directory, 'mesh.yaml'),
      SIDESTEP_ENROLMENT_FILE: file('yaml'),
      SIDESTEP_CA_DIRECTORY: join(this.directory, 'ca'),
      SIDESTEP_STATE_DIRECTORY: join(this.directory, `state-${name}`),
      SIDESTEP_ADMIN_SOCKET: join(this.#adminDirectory, `${name}.sock`),
      SIDESTEP_RECORDS: join(this.directory, 'records', name),
      SIDESTEP_DRAIN_SECONDS: '1',
      ...this.#options,
      ...this.#nodeOptions[name],
    }
    await seedCompileCache(env.SIDESTEP_ADMIN_SOCKET, 'ztunnel')
    const { namespace } = this.network.node(name)
    const start = (): ChildProcess =>
      spawn(process.execPath, ['--no-warnings', SUPERVISOR], { stdio: ['ignore', log, log], env })
    this.#nodes.set(name, namespace.run(start))
    closeSync(log)
  }

  #hear(pod: LabPod, text: string): void {
    const heard = this.#heard.get(pod) ?? []
    heard.push(text)
    this.#heard.set(pod, heard.slice(-MAX_HEARD))
  }

  async #startAgent(name: LabPod): Promise<void> {
    const args = ['--no-warnings', AGENT, ...(this.serving.includes(name) ? ['serve'] : [])]
    const start = (): ChildProcess =>
      spawn(process.execPath, args, {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: AGENT_ENVIRONMENT,
      })
    const agent = this.namespaceOf(name).run(start)
    this.#agents.set(name, agent)
    let isUp = false
    agent.on('message', (event: AgentEvent) => {
      if (event.type === 'up') isUp = true
      else if (event.type === 'heard') this.#hear(name, event.text)
      else this.#sockets.get(event.id)?.onEvent(event)
    })
    await poll(`the agent of ${name}`, () => isUp || null)
  }
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}
