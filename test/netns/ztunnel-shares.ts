// SPDX-License-Identifier: Apache-2.0
// Shares of pods in a turn of their node's worker, on a real node and by counts, no times: a pod with sixteen connections
// gets as many bytes as one with a single one, and a storm of handshakes to one pod lets another one's pass. Each is
// measured a second time with limits so high that they share nothing: there the counts tell connections, not pods.
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { BulkSinkOptions } from '../../bench/load/bulk-sink.ts'
import type { BulkSourceOptions, BulkSourceResult } from '../../bench/load/bulk-source.ts'
import { Processes } from '../../bench/processes.ts'
import type { ConnectionRow } from '../../cli/commands/tables.ts'
import { AF_INET, SOCK_CLOEXEC, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { connect, socket } from '../../mesh/reactor/ffi/libc.ts'
import { encodeSocketAddress } from '../../mesh/reactor/socket-address.ts'
import { nodeHello } from '../support/client-hellos.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const IPS = { front: '10.1.0.1', batch: '10.1.0.2', cart: '10.2.0.1' } as const
const [SINK_PORT, TUNNEL_PORT] = [9090, 15008] as const
const BULK_STREAMS = 16
const SECONDS = 10
/** Of these, in the middle. */
const WINDOW_MS = 3000
const STORM = 200
const ROUNDS = 5
/** As /proc/net/tcp writes it. */
const ESTABLISHED = '01'
const PROGRAM_TIMEOUT_MS = 60_000
/** The node works for a moment and rests for longer: there is always more waiting for it than it can do. */
const [WORK_MS, REST_MS] = [5, 25] as const
/** One worker on either node: what is shared is its turns. */
const ONE_WORKER = { SIDESTEP_WORKER_COUNT: '1' }
const NO_SHARES = { SIDESTEP_TURN_BYTES: String(2 ** 30), SIDESTEP_TURN_HANDSHAKES: '1000000' }

t.setTimeout(300_000)

/** Lets a process work only now and then, until `until` has an end. */
async function throttled<T>(pid: number, until: Promise<T>): Promise<T> {
  let hasEnded = false
  const ended = until.finally(() => (hasEnded = true))
  ended.catch(() => {}) // the caller gets it
  try {
    while (!hasEnded) {
      process.kill(pid, 'SIGSTOP')
      await wait(REST_MS)
      process.kill(pid, 'SIGCONT')
      await wait(WORK_MS)
    }
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  return await ended
}

/** What the bulk connections of each pod have moved so far; null until all are there. */
async function movedBytes(lab: MeshLab): Promise<{ readonly front: number; readonly batch: number } | null> {
  const { text } = await lab.admin('n1', '/connections').catch(() => ({ text: '[]' })) // it is slow now
  const all = JSON.parse(text) as readonly ConnectionRow[] // as: our API
  const of = (ip: string) =>
    all
      .filter(
        ({ source, destination }) => source.startsWith(`${ip}:`) && destination.endsWith(`:${SINK_PORT}`),
      )
      .map(({ bytesSent, bytesReceived }) => bytesSent + bytesReceived)
  const [front, batch] = [of(IPS.front), of(IPS.batch)]
  if (front.length !== BULK_STREAMS || batch.length !== 1 || front.includes(0) || batch.includes(0))
    return null
  return { front: front.reduce((sum, bytes) => sum + bytes), batch: batch[0] ?? 0 }
}

/** Bytes of a connection of batch, as a share of those of sixteen of front, while n1 has not the time for all. */
async function byteRatio(t: Test, lab: MeshLab, processes: Processes): Promise<number> {
  const move = async (pod: LabPod, streams: number): Promise<void> => {
    const options: BulkSourceOptions = {
      target: { ip: IPS.cart, port: SINK_PORT },
      ...{ streams, seconds: SECONDS, bytesPerSecond: 0 },
    }
    const result = await processes.measure<BulkSourceResult>(
      ...([lab.namespaceOf(pod), 'bulk-source', options, PROGRAM_TIMEOUT_MS] as const),
    )
    t.equal(result.failure, '')
  }
  const [pid = 0] = lab.dataPids('n1')
  const both = Promise.all([move('front', BULK_STREAMS), move('batch', 1)])
  // Programs do not start in the same moment: counted is only while both move.
  const count = async () => {
    const before = await poll('both move', () => movedBytes(lab))
    await wait(WINDOW_MS)
    const after = await poll('both still move', () => movedBytes(lab))
    return { front: after.front - before.front, batch: after.batch - before.batch }
  }
  const { front, batch } = await throttled(pid, count())
  await both
  t.comment(`front ${(front / 1e6).toFixed(0)} MB, batch ${(batch / 1e6).toFixed(0)} MB`)
  return batch / front
}

/** Connects from outside the mesh to the tunnel port of a pod of n1. */
function connectTunnel(lab: MeshLab, ip: string): Socket {
  const fd = lab.namespaceOf('stranger').run(() => socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
  const { address, bytes } = encodeSocketAddress(ip, TUNNEL_PORT)
  if (connect(fd, address, bytes) !== 0) throw new Error(`no connection to ${ip}`)
  return new Socket({ fd, readable: true, writable: true }).on('error', () => {})
}

/** Connections to the tunnel port of a pod that its ztunnel has taken from the kernel: those have an inode. */
function takenTunnels(lab: MeshLab, pod: LabPod): number {
  const port = `:${TUNNEL_PORT.toString(16).toUpperCase()}`
  const read = (family: string): string => readFileSync(`/proc/${lab.pidOf(pod)}/net/${family}`, 'latin1')
  const lines = `${read('tcp')}\n${read('tcp6')}`.split('\n')
  const fields = lines.map((line) => line.trim().split(/\s+/))
  return fields.filter(([, local, , state, , , , , , inode]) => {
    return local?.endsWith(port) && state === ESTABLISHED && inode !== '0'
  }).length
}

/** How many of a storm of handshakes to front are answered before the one to batch that came last. */
async function answeredBefore(lab: MeshLab, hello: Buffer): Promise<number> {
  const [pid = 0] = lab.dataPids('n1')
  const count = (): number => takenTunnels(lab, 'front') + takenTunnels(lab, 'batch')
  const ips = [...Array<string>(STORM).fill(IPS.front), IPS.batch]
  const sockets = ips.map((ip) => connectTunnel(lab, ip))
  const answered: number[] = []
  for (const [index, each] of sockets.entries()) each.once('data', () => answered.push(index))
  try {
    await poll('all are accepted', () => count() === sockets.length || null)
    process.kill(pid, 'SIGSTOP')
    try {
      for (const each of sockets) await new Promise((resolve) => each.write(hello, resolve))
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await poll('all are answered', () => answered.length === sockets.length || null)
    return answered.indexOf(STORM)
  } finally {
    for (const each of sockets) each.destroy()
    await poll('all are closed', () => count() === 0 || null)
  }
}

interface Measured {
  readonly ratio: number
  /** Of each round. */
  readonly before: readonly number[]
}

async function measure(t: Test, lab: MeshLab, processes: Processes, hello: Buffer): Promise<Measured> {
  const before: number[] = []
  for (let round = 0; round < ROUNDS; round++) before.push(await answeredBefore(lab, hello))
  const ratio = await byteRatio(t, lab, processes)
  t.comment(`bytes of batch / of front: ${ratio.toFixed(2)}; answered before batch’s: ${before.join(' ')}`)
  return { ratio, before }
}

t.test('pods share a node’s turns, however many connections each has', { timeout: 290_000 }, async (t) => {
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, labMesh([]), ONE_WORKER)
  t.teardown(() => lab.close())
  const processes = new Processes(directory, process.env.PATH ?? '')
  t.teardown(() => processes.close())
  const sink: BulkSinkOptions = { port: SINK_PORT }
  await processes.hold(lab.namespaceOf('cart'), 'bulk-sink', sink, PROGRAM_TIMEOUT_MS)
  const hello = await nodeHello({ ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' })

  const shared = await measure(t, lab, processes, hello)
  await lab.restart('n1', NO_SHARES)
  const unshared = await measure(t, lab, processes, hello)

  t.ok(shared.ratio > 0.5, 'with shares a pod gets as much by one connection as another by sixteen')
  t.ok(unshared.ratio < 0.25, 'without them connections count')
  t.ok(
    Math.max(...shared.before) < STORM / 10,
    'with shares the last of a storm is not what another waits for',
  )
  t.ok(Math.min(...unshared.before) > STORM / 2, 'without them it is')
})
