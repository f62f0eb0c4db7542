// SPDX-License-Identifier: Apache-2.0
// The command line in a real cluster, as somebody who has its kubeconfig and nothing else would use it: a process of its own,
// what it prints, how it ends. Text and JSON of every command that only looks.
import { type ExecFileOptions, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { PairVerdict } from '../../cli/why/pair-facts.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import type { PodFacts } from '../../ztunnel/decide/pod-facts.ts'
import type { ConnectionReport } from '../../ztunnel/worker-messages.ts'
import type { Cluster } from './cluster.ts'
import { poll } from './mesh-lab.ts'
import { processesOf } from './pod-processes.ts'
import type { Shop, ShopPod } from './shop.ts'
import { DENY_FRONT, SHOP } from './shop-objects.ts'

const CLI = fileURLToPath(new URL('../../cli/sidestep.mjs', import.meta.url))
const CART_HOST = `cart.${SHOP}.svc.cluster.local`
const COMMAND_MS = 60_000
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024
/** So long a tap is listened to; the shop calls several times a second. */
const TAP_MS = 6_000
const CAPTURE_SECONDS = 2
const WAIT_MS = 60_000
const SYSTEM = 'istio-system'

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  readonly tookMs: number
}

/** A page of one node. */
interface NodePage<T> {
  readonly node: string
  readonly page: readonly T[]
}

/** The command with the kubeconfig of a cluster. */
class Sidestep {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  run(...args: readonly string[]): Promise<Ended> {
    return this.#run({ timeout: COMMAND_MS }, ['--kubeconfig', this.#cluster.kubeconfig, ...args])
  }

  /** No node is asked. */
  runOnDump(file: string, ...args: readonly string[]): Promise<Ended> {
    return this.#run({ timeout: COMMAND_MS }, ['--dump', file, ...args])
  }

  /** Ends it after a while, as somebody does who has seen enough. */
  runFor(ms: number, ...args: readonly string[]): Promise<Ended> {
    const all = ['--kubeconfig', this.#cluster.kubeconfig, ...args]
    return this.#run({ timeout: ms, killSignal: 'SIGINT' }, all)
  }

  #run(limits: Pick<ExecFileOptions, 'timeout' | 'killSignal'>, args: readonly string[]): Promise<Ended> {
    const startedMs = performance.now()
    const all = ['--no-warnings', CLI, ...args]
    const options = { env: { PATH: process.env.PATH }, maxBuffer: MAX_OUTPUT_BYTES, ...limits }
    return new Promise((resolve) => {
      const child = execFile(process.execPath, all, options, (_, stdout, stderr) =>
        resolve({ code: child.exitCode ?? -1, stdout, stderr, tookMs: performance.now() - startedMs }),
      )
    })
  }

  /** What it prints for people, when all is well. */
  async text(t: Test, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr, tookMs } = await this.run(...args)
    t.same([code, stderr], [0, ''], args.join(' '))
    t.comment(`${args.join(' ')}: ${Math.round(tookMs)} ms`)
    return stdout
  }

  /** And for programs. */
  async json<T>(t: Test, ...args: readonly string[]): Promise<T> {
    const { code, stdout, stderr } = await this.run('-o', 'json', ...args)
    t.same([code, stderr], [0, ''], args.join(' '))
    return JSON.parse(stdout) as T // as: what the command prints
  }
}

/** Looks at a shop that is in the mesh, and well. */
export async function looksAround(t: Test, cluster: Cluster, shop: Shop): Promise<void> {
  const sidestep = new Sidestep(cluster)
  const [front, cart] = [await shop.podOf('front'), await shop.podOf('cart')]
  const account = (name: string): string => `spiffe://cluster.local/ns/${SHOP}/sa/${name}`

  const version = await sidestep.text(t, 'version')
  t.match(version, /^sidestep \d+\.\d+\.\d+$/m)
  for (const node of ['node1', 'node2']) t.match(version, new RegExp(`^${node} +v24\\.`, 'm'))
  t.match(await sidestep.json(t, 'version'), { nodes: { length: 2 } })

  const pods = await sidestep.text(t, 'ps')
  for (const { node, name } of [front, cart])
    t.match(pods, new RegExp(`^${node} +${SHOP}/${name} +\\S+ +served$`, 'm'))
  t.notMatch(pods, /plain-/)
  t.match(await sidestep.json(t, 'ps'), { length: pods.trim().split('\n').length - 1 })

  const certificates = await sidestep.text(t, 'certs')
  t.match(certificates, new RegExp(`^node2 +${account('cart')} +workload +Available `, 'm'))
  const perNode = await sidestep.json<readonly NodePage<{ identity: string; alarm: string }>[]>(t, 'certs')
  t.ok(perNode.flatMap(({ page }) => page).every(({ alarm }) => alarm === 'none'))

  t.match(
    await sidestep.text(t, 'edges'),
    new RegExp(`^node1 +source +${SHOP}/front +${SHOP}/cart +${CART_HOST} +mTLS +OK `, 'm'),
  )
  const edges = await sidestep.json<readonly NodePage<{ service: string; opened: number }>[]>(t, 'edges')
  t.ok(edges.flatMap(({ page }) => page).some(({ service, opened }) => service === CART_HOST && opened > 0))

  await showsConnection(t, sidestep, front, cart)
  await showsPod(t, sidestep, cart, account('cart'))
  await explains(t, sidestep, cluster, front)
  await countsEdges(t, cluster, account('front'))
  await listens(t, sidestep, cluster, cart)
  await looksElsewhere(t, sidestep, cluster, cart)
}

interface ControllerEdge {
  readonly source: { readonly namespace: string; readonly identity: string } | null
  readonly destination: { readonly namespace: string; readonly identity: string } | null
  readonly service: string
  readonly isPlaintext: boolean
  readonly reason: string
  readonly opened: number
  readonly failed: number
}

/** What the nodes have told the controllers, whichever of them each node reports to. */
async function countsEdges(t: Test, cluster: Cluster, front: string): Promise<void> {
  const script = `
    require('http').get({ socketPath: '/run/sidestep/controller.sock', path: '/edges?namespace=${SHOP}', agent: false },
      (answer) => answer.pipe(process.stdout))`
  const names = (
    await cluster.kubectl('-n', SYSTEM, 'get', 'pods', '-l', 'app=sidestep-controller', '-o', 'name')
  )
    .trim()
    .split('\n')
  t.equal(names.length, 2, 'two controllers')
  const ask = async (name: string): Promise<readonly ControllerEdge[]> => {
    const text = await cluster.kubectl('-n', SYSTEM, 'exec', name, '--', '/usr/local/bin/node', '-e', script)
    return (JSON.parse(text) as { readonly edges: readonly ControllerEdge[] }).edges // as: our API
  }
  const wanted: Readonly<Record<string, (edge: ControllerEdge) => boolean>> = {
    'front to cart inside mTLS': (edge) =>
      edge.service === CART_HOST &&
      edge.source?.identity === front &&
      !edge.isPlaintext &&
      edge.reason === 'OK',
    'a call in plain text': ({ isPlaintext, opened }) => isPlaintext && opened > 0,
    'front refused by policy': (edge) =>
      edge.source?.identity === front && edge.reason === 'POLICY_DENY' && edge.failed > 0,
  }
  const missing = async (): Promise<readonly string[]> => {
    const edges = (await Promise.all(names.map(ask))).flat()
    return Object.keys(wanted).filter((name) => !edges.some((edge) => wanted[name]?.(edge)))
  }
  await poll('the edges', async () => ((await missing()).length === 0 ? true : null), WAIT_MS).catch(
    () => null,
  )
  t.same(await missing(), [], 'the controllers know the edges')
}

/** What goes on until somebody ends it. */
async function listens(t: Test, sidestep: Sidestep, cluster: Cluster, cart: ShopPod): Promise<void> {
  const name = `${SHOP}/${cart.name}`
  const { stdout } = await sidestep.runFor(TAP_MS, '-o', 'json', 'tap', name)
  const events = stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
  t.ok(
    events.some(({ node }) => node === cart.node),
    `${events.length} events of ${name}`,
  )
  const directory = mkdtempSync(join(tmpdir(), 'capture-'))
  const out = join(directory, 'cart.pcapng')
  try {
    const ended = await sidestep.run('capture', name, '--out', out, '--seconds', `${CAPTURE_SECONDS}`)
    t.equal(ended.code, 0, ended.stderr)
    const bytes = readFileSync(out)
    t.equal(bytes.readUInt32LE(0), 0x0a0d0d0a, 'a pcapng file')
    t.ok(bytes.includes('GET / HTTP/1.1') && bytes.includes('marker-of-cart'), 'what cart read and said')
    t.equal(statSync(out).mode & 0o777, 0o600)
  } finally {
    rmSync(directory, { recursive: true })
  }
  const log = await logOf(cluster, cart.node)
  t.match(log, /"audit":"capture","pod":"shop\/cart-/)
}

/** Drains, log levels, a dump, and the command in the image itself. */
async function looksElsewhere(t: Test, sidestep: Sidestep, cluster: Cluster, cart: ShopPod): Promise<void> {
  const drains = await sidestep.text(t, 'drain', 'status')
  for (const node of ['node1', 'node2']) t.match(drains, new RegExp(`^${node} +serving `, 'm'))
  for (const level of ['debug', 'info']) {
    const levels = await sidestep.text(t, 'log-level', level)
    for (const node of ['node1', 'node2']) t.match(levels, new RegExp(`^${node} +${level} *$`, 'm'))
  }
  const log = await logOf(cluster, cart.node)
  t.match(log, /"audit":"logging","asked":"level=debug","status":200,"uid":0,"pid":\d+/)
  const dump = await sidestep.text(t, 'dump')
  t.notMatch(dump, /PRIVATE KEY/)
  const directory = mkdtempSync(join(tmpdir(), 'dump-'))
  try {
    const file = join(directory, 'mesh.json')
    writeFileSync(file, dump)
    const { stdout: read, stderr } = await sidestep.runOnDump(file, 'ps')
    t.equal(stderr, '')
    t.match(read, new RegExp(`^${cart.node} +${SHOP}/${cart.name} +\\S+ +served$`, 'm'))
  } finally {
    rmSync(directory, { recursive: true })
  }
  const inside = [
    '/usr/local/bin/node',
    '/app/image/entry.mjs',
    'cli',
    '--node',
    '/run/sidestep/admin.sock',
    'ps',
  ]
  const name = await ztunnelOn(cluster, cart.node)
  t.match(
    await cluster.kubectl('-n', SYSTEM, 'exec', name, '--', ...inside),
    new RegExp(`${SHOP}/${cart.name} +\\S+ +served$`, 'm'),
  )
}

async function ztunnelOn(cluster: Cluster, node: string): Promise<string> {
  const select = ['-l', 'app=ztunnel', '--field-selector', `spec.nodeName=${node}`]
  const template = 'jsonpath={.items[0].metadata.name}'
  return await cluster.kubectl('-n', SYSTEM, 'get', 'pods', ...select, '-o', template)
}

async function logOf(cluster: Cluster, node: string): Promise<string> {
  return await cluster.kubectl('-n', SYSTEM, 'logs', await ztunnelOn(cluster, node))
}

/** One that stands, made from within the pod. */
async function showsConnection(t: Test, sidestep: Sidestep, front: ShopPod, cart: ShopPod): Promise<void> {
  const [inside] = processesOf(front.uid)
  const namespace = NetworkNamespace.open(`/proc/${inside?.pid}/ns/net`)
  const program = `require('node:net').connect(8080, '${cart.ip}')`
  const holder = namespace.run(() => spawn(process.execPath, ['-e', program], { stdio: 'inherit' }))
  namespace.close()
  try {
    const standing = await poll('it stands at both ends', async () => {
      const pages = await sidestep.json<readonly NodePage<ConnectionReport>[]>(t, 'conns')
      const found = pages.flatMap(({ node, page }) => page.map((each) => ({ node, ...each })))
      const out = found.filter(
        ({ direction, destination, protocol, ageMs }) =>
          direction === 'outbound' &&
          destination === `${cart.ip}:8080` &&
          protocol === 'HBONE' &&
          ageMs > 500,
      )
      return out[0] ?? null
    })
    t.equal(standing.node, front.node)
    const row = `^${front.node} +outbound +${standing.source} +${cart.ip}:8080 +mTLS `
    t.match(await sidestep.text(t, 'conns'), new RegExp(row, 'm'))
  } finally {
    holder.kill('SIGKILL')
  }
}

async function showsPod(t: Test, sidestep: Sidestep, cart: ShopPod, identity: string): Promise<void> {
  const text = await sidestep.text(t, 'ps', `${SHOP}/${cart.name}`)
  for (const line of [
    `^identity +${identity}$`,
    `^node +${cart.node}$`,
    `^services +${SHOP}/${CART_HOST}$`,
    `^${identity} +workload +Available +[\\d.]+ +2 of 2 workers `,
    `^15008 +mesh +listens `,
    `^8080 +application +listens .*${SHOP}/${CART_HOST}:80$`,
    `^inbound +mTLS +OK +[1-9]`,
  ])
    t.match(text, new RegExp(line, 'm'))
  const facts = await sidestep.json<PodFacts>(t, 'ps', cart.name)
  t.match(facts, { pod: { name: cart.name, uid: cart.uid }, workload: { identity, ips: [cart.ip] } })
  t.ok(facts.listeners?.every(({ owner, state }) => owner === 'application' || state === 'listens'))
}

async function explains(t: Test, sidestep: Sidestep, cluster: Cluster, front: ShopPod): Promise<void> {
  const pair = [`${SHOP}/${front.name}`, CART_HOST] as const
  t.match(
    await sidestep.text(t, 'why', ...pair),
    new RegExp(`^${pair[0]} -> ${CART_HOST}:80: ALLOWED, inside mTLS$`, 'm'),
  )
  const well = await sidestep.json<PairVerdict>(t, 'why', ...pair)
  t.same([well.outcome, well.cause, well.risks, well.silent], ['allowed', null, [], []])
  await cluster.apply(DENY_FRONT)
  try {
    const denied = await poll('the policy is in force', async () => {
      const { code, stdout } = await sidestep.run('-o', 'json', 'why', ...pair)
      return code === 1 ? (JSON.parse(stdout) as PairVerdict) : null // as: what the command prints
    })
    t.match(denied, {
      ...{ outcome: 'refused', code: 'POLICY_DENY', policy: `${SHOP}/no-front` },
      cause: { hop: 'destination', fix: /change shop\/no-front/ },
    })
    const { code, stdout } = await sidestep.run('why', ...pair)
    t.equal(code, 1)
    t.match(stdout, /: REFUSED\n {2}code +POLICY_DENY\n {2}hop +destination, shop\/cart-/)
    t.match(stdout, /^ {2}policy +shop\/no-front$/m)
  } finally {
    await cluster.kubectl('-n', SHOP, 'delete', 'authorizationpolicy', 'no-front')
  }
  await poll('it is taken back', async () => ((await sidestep.run('why', ...pair)).code === 0 ? true : null))
}
