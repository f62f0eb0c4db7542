// SPDX-License-Identifier: Apache-2.0
// Connections through two real nodes that end in order, by a reset of either side, and not at all on one side, over and over:
// what the processes of both nodes hold of them afterwards, and whether it grows meanwhile.
import { readFileSync } from 'node:fs'
import { compareDescriptors, readDescriptors } from './descriptor-kinds.ts'
import { type LabSocket, labMesh, MeshLab, poll } from './mesh-lab.ts'

const CART_IP = '10.2.0.1'
const [MIRROR_PORT, GREETER_PORT, HOLD_PORT, FAREWELL_PORT] = [9000, 9001, 9003, 9004] as const
const NODES = ['n1', 'n2'] as const
/** Of each kind at once. */
const WIDTH = 20
/** Rounds before the start: tunnels stand then, in every worker, and heaps have their size. */
const WARM_UP_ROUNDS = 5
/** Connections of a round that are never closed, where a leak is planted. */
const LEAKED_PER_ROUND = 5
/** Of what is told when it fails. */
const [MAX_LOG_LENGTH, MAX_BAD_RECORDS] = [20_000, 100] as const

/** What a churn was. */
export interface MeshChurn {
  readonly connectionCount: number
  /** Growth of the resident memory by a line through what was read after the first third: both nodes together. */
  readonly dataKbPer10Min: number
  readonly supervisorsKbPer10Min: number
  /** The same of the data processes, had every connection left LEAKED_KB behind. */
  readonly withLeakKbPer10Min: number
  /** Descriptors that are there and were not, or were and are not, as `<process> <kind>: <count>, <count> before`. */
  readonly descriptorChanges: readonly string[]
  /** By node and reason. */
  readonly records: Readonly<Record<string, number>>
}

/** A reading of memory that is no mapped file: code pages come and go with the page cache. */
export interface Reading {
  readonly atMs: number
  readonly kb: number
}

/** What is planted to see that a check finds it: what a TLS session takes. */
const LEAKED_KB = 20

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

/**
 * Churns for so long; the lab is opened with half-closed connections ending after a second. `isLeaking`: some of every round
 * stay open for ever, which is what a leak looks like from outside.
 */
export async function churnMesh(
  directory: string,
  durationMs: number,
  isLeaking = false,
): Promise<MeshChurn> {
  const lab = await MeshLab.start(directory, labMesh([]), { SIDESTEP_HALF_CLOSE_SECONDS: '1' })
  try {
    const data = NODES.flatMap((node) => lab.dataPids(node))
    const supervisors = NODES.map((node) => lab.supervisorPid(node))
    for (let count = 0; count < WARM_UP_ROUNDS; count++) await round(lab)
    await settled(lab)
    const before = readDescriptors(lab, [...data, ...supervisors])
    const changes = (): readonly string[] =>
      compareDescriptors(before, readDescriptors(lab, [...data, ...supervisors]))
    const readings: Record<'data' | 'supervisors' | 'leaking', Reading[]> = {
      data: [],
      supervisors: [],
      leaking: [],
    }
    let connectionCount = 0
    const startMs = performance.now()
    while (performance.now() - startMs < durationMs) {
      connectionCount += await round(lab)
      if (isLeaking) await leak(lab)
      const atMs = performance.now() - startMs
      const kb = residentKb(data)
      readings.data.push({ atMs, kb })
      readings.leaking.push({ atMs, kb: kb + connectionCount * LEAKED_KB })
      readings.supervisors.push({ atMs, kb: residentKb(supervisors) })
    }
    if (!isLeaking) {
      await settled(lab)
      await poll('descriptors back', () => changes().length === 0 || null).catch(() => {})
    }
    const late = (all: readonly Reading[]): number => slopeKbPer10Min(all.slice(all.length / 3))
    return {
      connectionCount,
      dataKbPer10Min: late(readings.data),
      supervisorsKbPer10Min: late(readings.supervisors),
      withLeakKbPer10Min: late(readings.leaking),
      descriptorChanges: changes(),
      records: await countRecords(lab),
    }
  } catch (error) {
    throw new Error(`${error}\n${await evidence(lab)}`)
  } finally {
    await lab.close()
  }
}

async function countRecords(lab: MeshLab): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {}
  for (const node of NODES)
    for (const { reason } of await lab.records(node))
      counts[`${node} ${reason}`] = (counts[`${node} ${reason}`] ?? 0) + 1
  return counts
}

/** What the nodes say of what went wrong: the ends of their logs, and records of what did not end in order. */
async function evidence(lab: MeshLab): Promise<string> {
  const lines: string[] = []
  for (const node of NODES) {
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
  for (const node of NODES)
    await poll(
      'no connections',
      async () => (await lab.admin(node, '/connections')).text.trim() === '[]' || null,
    )
}

const closed = (socket: LabSocket): Promise<void> => socket.until('closed', ({ isClosed }) => isClosed)

async function greeted(lab: MeshLab): Promise<LabSocket> {
  const socket = lab.connect('front', CART_IP, GREETER_PORT)
  await socket.until('greeted', ({ text }) => text.startsWith('220'))
  return socket
}

/** Ways to end. */
const KINDS: ReadonlyArray<(lab: MeshLab) => Promise<void>> = [
  async function inOrder(lab) {
    const socket = lab.connect('front', CART_IP, MIRROR_PORT)
    socket.write('in order')
    socket.end()
    await closed(socket)
  },
  async function resetByServer(lab) {
    const socket = await greeted(lab)
    socket.write('reset')
    await closed(socket)
  },
  async function resetByClient(lab) {
    const socket = await greeted(lab)
    socket.reset()
    await closed(socket)
  },
  async function neverEndedByServer(lab) {
    const socket = lab.connect('front', CART_IP, HOLD_PORT)
    socket.write('half')
    socket.end()
    await closed(socket) // by the watch: the application never ends
  },
  async function endedByServerFirst(lab) {
    const socket = lab.connect('front', CART_IP, FAREWELL_PORT)
    await socket.until('its end', ({ hasEnded }) => hasEnded)
    socket.write('still there')
    socket.end()
    await closed(socket)
  },
]

/** Some of each kind, each waited for to its end; how many they were. */
async function round(lab: MeshLab): Promise<number> {
  const all = KINDS.flatMap((kind) => Array.from({ length: WIDTH }, () => kind(lab)))
  await Promise.all(all)
  return all.length
}

async function leak(lab: MeshLab): Promise<void> {
  await Promise.all(Array.from({ length: LEAKED_PER_ROUND }, () => greeted(lab)))
}
