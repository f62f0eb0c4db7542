// SPDX-License-Identifier: Apache-2.0
// A node whose real ztunnels are told of its pods by an apiserver of the tests. Pods are a network of their own and a process of
// another user, in the control group that a kubelet would give it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { seedCompileCache } from './compile-caches.ts'
import { FakeApiserver } from './fake-apiserver.ts'
import { createLab } from './lab.ts'
import type { LabRecord } from './mesh-lab.ts'
import { enterCgroup } from './pod-cgroup.ts'
import { serveTls } from './tls-apiserver.ts'

const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))

/** Something with tap's teardown. */
interface Owner {
  teardown(action: () => void | Promise<void>): void
  comment(text: string): void
}

/** An Event as a ztunnel has written it. */
export interface WrittenEvent {
  readonly reason: string
  readonly message: string
  readonly involvedObject: { readonly uid: string }
}

/** A ztunnel that runs, from outside. */
export interface SeenZtunnel {
  readonly log: () => string
  readonly metrics: () => Promise<string>
  readonly records: () => Promise<readonly LabRecord[]>
  /** Of the supervisor and its data process. */
  readonly pids: () => readonly number[]
}

/** A pod that runs; its object is not at the apiserver before show(). */
export interface WatchedPod {
  readonly uid: string
  readonly namespace: NetworkNamespace
  show(): void
  /** Takes the object away. */
  hide(): void
  /** Ends its process, its control group and its network. */
  end(): Promise<void>
}

export interface WatchedNode {
  readonly network: VirtualNetwork
  readonly events: WrittenEvent[]
  startPod(name: string, ip: string): WatchedPod
  /** Runs `look` beside a ztunnel that may do no more than this; null: what the test may. */
  withZtunnel(
    capabilities: readonly string[] | null,
    look: (ztunnel: SeenZtunnel) => Promise<void>,
    options?: Readonly<Record<string, string>>,
  ): Promise<void>
}

/** `directory` is the test's own, `mesh` what the node is configured with. */
export async function openWatchedNode(t: Owner, directory: string, mesh: string): Promise<WatchedNode> {
  const sockets = mkdtempSync(join(tmpdir(), 'sidestep-watched-'))
  t.teardown(() => rmSync(sockets, { recursive: true, force: true }))
  const network = createLab(t, { nodes: [{ name: 'n1' }] })
  const node = network.node('n1').namespace
  const events: WrittenEvent[] = []
  const apiserver = await openApiserver(t, events)
  const files = join(directory, 'account')
  mkdirSync(files)
  const account = await serveTls(apiserver, node, files)
  t.teardown(account.close)
  writeFileSync(join(directory, 'mesh.yaml'), mesh)
  mkdirSync(join(directory, 'ca'), { mode: 0o700 })
  const adminSocket = join(sockets, 'n1.sock')
  await seedCompileCache(adminSocket, 'ztunnel')
  let count = 0

  const withZtunnel: WatchedNode['withZtunnel'] = async (capabilities, look, options = {}) => {
    events.length = 0
    const logFile = join(directory, `${++count}.log`)
    const env = {
      SIDESTEP_NODE_NAME: 'n1',
      SIDESTEP_CONFIG_FILE: join(directory, 'mesh.yaml'),
      SIDESTEP_CA_DIRECTORY: join(directory, 'ca'),
      SIDESTEP_STATE_DIRECTORY: join(directory, `state-${count}`),
      SIDESTEP_ADMIN_SOCKET: adminSocket,
      SIDESTEP_RECORDS: join(directory, `${count}.records`),
      SIDESTEP_DRAIN_SECONDS: '0',
      ...account.options,
      ...options,
    }
    const names = capabilities?.map((name) => `+${name.toLowerCase()}`)
    const bounding = names === undefined ? [] : ['--bounding-set', ['-all', ...names].join()]
    const output = openSync(logFile, 'a')
    const command = [...bounding, process.execPath, '--no-warnings', SUPERVISOR]
    const ztunnel = node.run(() => spawn('setpriv', command, { stdio: ['ignore', output, output], env }))
    const log = (): string => readFileSync(logFile, 'utf8')
    const records = async (): Promise<readonly LabRecord[]> =>
      (await adminText(adminSocket, '/records'))
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as LabRecord) // as: the ztunnel's own lines
    const pids = (): number[] => [ztunnel.pid ?? -1, ...childrenOf(ztunnel.pid ?? -1)]
    try {
      await look({ log, metrics: () => adminText(adminSocket, '/metrics'), records, pids })
    } catch (error) {
      t.comment(log())
      throw error
    } finally {
      ztunnel.kill('SIGTERM')
      await ended(ztunnel)
    }
  }
  const startPod = (name: string, ip: string): WatchedPod => startIn(network, apiserver, name, ip, t)
  return { network, events, startPod, withZtunnel }
}

async function openApiserver(t: Owner, events: WrittenEvent[]): Promise<FakeApiserver> {
  const apiserver = new FakeApiserver()
  await apiserver.listen()
  t.teardown(() => apiserver.close())
  apiserver.fault = ({ path, response }) => {
    if (!/\/status$|\/events$/.test(path)) return undefined
    let body = ''
    response.req.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    response.req.on('end', () => {
      if (path.endsWith('/events')) events.push(JSON.parse(body) as WrittenEvent) // as: what the ztunnel writes
      response.end('{}')
    })
    return 'handled'
  }
  apiserver.put({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: 'shop', labels: { 'sidestep.dev/mode': 'ambient' } },
  })
  return apiserver
}

let podCount = 0

function startIn(
  network: VirtualNetwork,
  apiserver: FakeApiserver,
  name: string,
  ip: string,
  t: Owner,
): WatchedPod {
  const uid = `${(++podCount).toString(16).padStart(8, '0')}-0000-4000-8000-${String(process.pid).padStart(12, '0')}`
  const { namespace } = network.addPod('n1', { name, ip })
  const start = () => spawn('setpriv', ['--reuid', '1000', 'sleep', '1000'], { stdio: 'ignore' })
  const child = namespace.run(start)
  const leave = enterCgroup(child.pid ?? 0, `kubepods/burstable/pod${uid}/c1`)
  const object = {
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { name, namespace: 'shop', uid, labels: {} },
    spec: { nodeName: 'n1', serviceAccountName: name },
    status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] },
  }
  let isOver = false
  const end = async (): Promise<void> => {
    if (isOver) return
    isOver = true
    child.kill('SIGKILL')
    await ended(child)
    leave()
    network.removePod(name)
  }
  t.teardown(end)
  return { uid, namespace, show: () => apiserver.put(object), hide: () => apiserver.delete(object), end }
}

function childrenOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`
  return existsSync(path) ? readFileSync(path, 'latin1').split(' ').filter(Boolean).map(Number) : []
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function adminText(socketPath: string, path: string): Promise<string> {
  const asked = request({ socketPath, path, agent: false, signal: AbortSignal.timeout(2000) }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return text
}

/** The names of the tables in a namespace. */
export const tablesIn = (namespace: NetworkNamespace): string =>
  namespace.run(() => spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout)
