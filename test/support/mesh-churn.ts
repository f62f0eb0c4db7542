// SPDX-License-Identifier: Apache-2.0
// Connections through two real nodes that end in order, by a reset, and not at all on one side, over and over: what the data
// processes hold of them afterwards, and whether it grows meanwhile.
import { readdirSync, readFileSync } from 'node:fs'
import { type LabSocket, labMesh, MeshLab, poll } from './mesh-lab.ts'

const CART_IP = '10.2.0.1'
const [MIRROR_PORT, GREETER_PORT, HOLD_PORT] = [9000, 9001, 9003] as const
/** Of each kind at once. */
const WIDTH = 20
/** Sockets that dialers keep ready: eight each, in two workers of two nodes. */
const SPARE_SOCKETS = 32

/** Of what is told when it fails. */
const [MAX_LOG_LENGTH, MAX_BAD_RECORDS] = [20_000, 100] as const

/** What a churn was. */
export interface MeshChurn {
  readonly connectionCount: number
  /** Growth of the resident memory, both data processes, by a line through what was read after the first third. */
  readonly slopeKbPer10Min: number
  /** Descriptors beyond those at the start, spare sockets left out. */
  readonly leftDescriptors: number
  /** By reason. */
  readonly records: Readonly<Record<string, number>>
}

/** A reading of memory that is no mapped file: code pages come and go with the page cache. */
export interface Reading {
  readonly atMs: number
  readonly kb: number
}

/** Least squares; 0 for fewer than two readings. Pure. */
export function slopeKbPer10Min(readings: readonly Reading[]): number {
  const mean = (of: (each: Reading) => number): number =>
    readings.reduce((sum, each) => sum + of(each), 0) / readings.length
  const [meanMs, meanKb] = [mean(({ atMs }) => atMs), mean(({ kb }) => kb)]
  let [together, spread] = [0, 0]
  for (const { atMs, kb } of readings) {
    together += (atMs - meanMs) * (kb - meanKb)
    spread += (atMs - meanMs) ** 2
  }
  return spread === 0 ? 0 : (together / spread) * 600_000
}

/** Churns for so long; the lab is opened with half-closed connections ending after a second. */
export async function churnMesh(directory: string, durationMs: number): Promise<MeshChurn> {
  const lab = await MeshLab.start(directory, labMesh([]), { SIDESTEP_HALF_CLOSE_SECONDS: '1' })
  try {
    const pids = [...lab.dataPids('n1'), ...lab.dataPids('n2')]
    const descriptors = (): number =>
      pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0)
    await round(lab) // tunnels stand from now on
    await settled(lab)
    const before = descriptors()
    const readings: Reading[] = []
    let connectionCount = 0
    const startMs = performance.now()
    while (performance.now() - startMs < durationMs) {
      connectionCount += await round(lab)
      readings.push({ atMs: performance.now() - startMs, kb: residentKb(pids) })
    }
    await settled(lab)
    await poll('descriptors back', () => descriptors() <= before + SPARE_SOCKETS || null).catch(() => {})
    const records: Record<string, number> = {}
    for (const { reason } of await lab.records('n1'))
      records[String(reason)] = (records[String(reason)] ?? 0) + 1
    return {
      connectionCount,
      slopeKbPer10Min: slopeKbPer10Min(readings.slice(readings.length / 3)),
      leftDescriptors: Math.max(0, descriptors() - before - SPARE_SOCKETS),
      records,
    }
  } catch (error) {
    throw new Error(`${error}\n${await evidence(lab)}`)
  } finally {
    await lab.close()
  }
}

/** What the nodes say of what went wrong: the ends of their logs, and records of what did not end in order. */
async function evidence(lab: MeshLab): Promise<string> {
  const lines: string[] = []
  for (const node of ['n1', 'n2'] as const) {
    const records = await lab.records(node).catch(() => [])
    const bad = records.filter(({ reason }) => reason !== 'OK' && reason !== 'HALF_CLOSE_TIMEOUT')
    lines.push(node, lab.log(node).slice(-MAX_LOG_LENGTH))
    lines.push(...bad.slice(-MAX_BAD_RECORDS).map((record) => JSON.stringify(record)))
    lines.push('the last', ...records.slice(-MAX_BAD_RECORDS).map((record) => JSON.stringify(record)))
  }
  return lines.join('\n')
}

function residentKb(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const text = readFileSync(`/proc/${pid}/status`, 'latin1')
    return sum + Number(/^RssAnon:\s+(\d+)/m.exec(text)?.[1] ?? Number.NaN)
  }, 0)
}

async function settled(lab: MeshLab): Promise<void> {
  for (const node of ['n1', 'n2'] as const)
    await poll(
      'no connections',
      async () => (await lab.admin(node, '/connections')).text.trim() === '[]' || null,
    )
}

/** Some of each kind, each waited for to its end; how many they were. */
async function round(lab: MeshLab): Promise<number> {
  const closed = (socket: LabSocket): Promise<void> => socket.until('closed', ({ isClosed }) => isClosed)
  const kinds = [
    async (): Promise<void> => {
      const socket = lab.connect('front', CART_IP, MIRROR_PORT)
      socket.write('in order')
      socket.end()
      await closed(socket)
    },
    async (): Promise<void> => {
      const socket = lab.connect('front', CART_IP, GREETER_PORT)
      await socket.until('greeted', ({ text }) => text.startsWith('220'))
      socket.write('reset')
      await closed(socket)
    },
    async (): Promise<void> => {
      const socket = lab.connect('front', CART_IP, HOLD_PORT)
      socket.write('half')
      socket.end()
      await closed(socket) // by the watch: the application never ends
    },
  ]
  const all = kinds.flatMap((kind) => Array.from({ length: WIDTH }, kind))
  await Promise.all(all)
  return all.length
}
