// SPDX-License-Identifier: Apache-2.0
// A node that runs out: of descriptors, with a low limit, and of memory for what a pod does not read. Who gives way is who
// the order names, each with its code and record, all others go on, and it is over when there is room again.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parseDescriptorLimit } from '../../mesh/runtime/descriptor-limit.ts'
import { PRESSURE_HOLD_MS, PRESSURE_PERCENT, SHED_HALF_CLOSED_MS } from '../../ztunnel/carry/node-pressure.ts'
import { BULK_BYTES, bulkHash } from '../support/bulk-pattern.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const [CART_IP, STRANGER_IP] = ['10.2.0.1', '10.1.0.3'] as const
const [GREETER_PORT, BULK_PORT, HOLD_PORT] = [9001, 9002, 9003] as const
/** Some seventy are in use by a node that does nothing; a plain connection of a pod takes two. */
const DESCRIPTORS = 500
const PRESSURE = (DESCRIPTORS * PRESSURE_PERCENT) / 100
/** More than are open when most are free, fewer than there are under pressure. */
const EXHAUSTED = PRESSURE - 150
const HALF_CLOSED = 3
/** Between two connections under pressure: it is looked every 250 ms, and a tenth of the descriptors is left. */
const PACE_MS = 100
/** Above the window of a stream, below that of two. */
const BUFFERED_BYTES = 6_291_456
const PAUSED = 4
/** A tenth of it is more than a stream brings that is not read: pressure is seen before there is no room. */
const NODE_BUFFERED_BYTES = 60_000_000
/** More than that: it is not the pod's limit that is met. */
const POD_BUFFERED_BYTES = 1_000_000_000
/** Streams that are not read: more than fill it. */
const MOST_PAUSED = 40
/** A stream that is not read has what its window lets in. */
const FILLING_MS = 300
/** Longer than it is between two looks of a data process at its own memory. */
const LOOKS_MS = 6000

t.setTimeout(240_000)

/** Sets the limit of descriptors of a process, and the one that it may not be above. */
function limitDescriptors(pid: number, count: number, most = DESCRIPTORS): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--nofile=${count}:${most}`])
  if (status !== 0) throw new Error(String(stderr))
}

const dataPid = (lab: MeshLab): number => lab.dataPids('n1')[0] ?? 0
const openCount = (lab: MeshLab): number => readdirSync(`/proc/${dataPid(lab)}/fd`).length

/** Has the data process of n1 replaced by one with fewer descriptors: it has what its supervisor may have. */
async function narrow(t: Test, lab: MeshLab): Promise<void> {
  const before = dataPid(lab)
  limitDescriptors(lab.supervisorPid('n1'), DESCRIPTORS)
  lab.upgrade('n1')
  await poll('the next data process', () => {
    const pids = lab.dataPids('n1')
    return (pids.length === 1 && pids[0] !== before) || null
  })
  const limits = readFileSync(`/proc/${dataPid(lab)}/limits`, 'latin1')
  t.equal(parseDescriptorLimit(limits), DESCRIPTORS)
}

async function greeted(lab: MeshLab, pod: LabPod, ip: string): Promise<LabSocket> {
  const socket = lab.connect(pod, ip, GREETER_PORT)
  await socket.until('greeted or refused', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return socket
}
const opened = (socket: LabSocket): boolean => socket.text.startsWith('220') && !socket.isClosed

async function echoes(socket: LabSocket): Promise<boolean> {
  const { length } = socket.text
  socket.write('ping')
  await socket.until('an echo', ({ text, isClosed }) => text.length === length + 4 || isClosed)
  return !socket.isClosed
}

/** The pressure is over: front, which was refused, is greeted. */
async function servedAgain(lab: MeshLab, ip: string): Promise<void> {
  await poll('front is served again', async () => {
    const next = await greeted(lab, 'front', ip)
    next.destroy()
    return opened(next) || null
  })
}

async function refusedCount(lab: MeshLab, pod: string, limit: string): Promise<number> {
  const { text } = await lab.admin('n1', '/metrics')
  const line = new RegExp(`^sidestep_pod_refused_total\\{.*pod="${pod}",limit="${limit}"\\} (\\d+)$`, 'm')
  return Number(line.exec(text)?.[1] ?? 0)
}

/** What gave way, in order, as the log tells it. */
function shedKinds(lab: MeshLab): string[] {
  const lines = lab.log('n1').matchAll(/"reason":"LIMIT_NODE","kind":"([a-z-]+)"/g)
  return [...lines].map(([, kind = '']) => kind)
}

async function testOrder(t: Test, lab: MeshLab): Promise<void> {
  await narrow(t, lab)
  // batch: half-closed connections that move nothing. front: a tunnel that nobody uses.
  const halves = Array.from({ length: HALF_CLOSED }, () => lab.connect('batch', CART_IP, HOLD_PORT))
  for (const each of halves) {
    await each.until('connected', ({ isConnected }) => isConnected)
    each.end()
  }
  const stillMs = performance.now()
  const once = await greeted(lab, 'front', CART_IP)
  t.ok(opened(once))
  once.destroy()
  const innocent = await greeted(lab, 'batch', CART_IP)
  await wait(SHED_HALF_CLOSED_MS + 500 - (performance.now() - stillMs))
  t.same(shedKinds(lab), [], 'nothing gives way while there is room')
  t.equal(halves.filter(({ isClosed }) => isClosed).length, 0)

  const known = (await lab.records('n1')).length
  const held: LabSocket[] = []
  while (openCount(lab) < PRESSURE - 4) held.push(await greeted(lab, 'front', STRANGER_IP))
  t.same(shedKinds(lab), [])
  let refused: LabSocket | null = null
  while (refused === null && openCount(lab) < DESCRIPTORS - 4) {
    const next = await greeted(lab, 'front', STRANGER_IP)
    if (opened(next)) held.push(next)
    else refused = next
    await wait(PACE_MS)
  }
  t.equal(refused?.error, 'ECONNRESET', 'in the end front is refused, which has most')
  const kinds = shedKinds(lab)
  t.equal(kinds[0], 'idle-tunnel', 'before that, and first, the tunnel that nobody uses gave way')
  t.ok(kinds.includes('half-closed'), `then what was half closed and still: ${kinds}`)
  for (const each of halves) await each.until('closed', ({ isClosed }) => isClosed)

  const other = await greeted(lab, 'batch', CART_IP)
  t.ok(opened(other), 'batch, which has little, is not refused')
  t.ok(await echoes(innocent), 'its connections go on')
  const still = await Promise.all(held.map(echoes))
  t.ok(still.every(Boolean), 'and so do all that front had')
  t.comment(`${held.length} held, ${openCount(lab)} of ${DESCRIPTORS} descriptors, gave way: ${kinds}`)

  const again = await greeted(lab, 'front', STRANGER_IP)
  t.notOk(opened(again))
  const count = await refusedCount(lab, 'front', 'node')
  t.equal(count, 2)
  t.equal(await refusedCount(lab, 'batch', 'node'), 0)
  const ends = await poll('records', async () => {
    const found = (await lab.records('n1')).slice(known).filter(({ reason }) => reason === 'LIMIT_NODE')
    return found.length >= count + HALF_CLOSED ? found : null
  })
  const told = (name: string): number => ends.filter((each) => String(each['src.workload']) === name).length
  t.same([told('front'), told('batch'), ends.length], [count, HALF_CLOSED, count + HALF_CLOSED])

  for (const each of held) each.destroy()
  await servedAgain(lab, STRANGER_IP)
  for (const each of [innocent, other]) each.destroy()
}

async function testExhaustion(t: Test, lab: MeshLab): Promise<void> {
  // What was open before is closed, and the pressure is over: else who has most is refused, and that is batch now.
  await poll('most descriptors free', () => openCount(lab) < PRESSURE / 2 || null)
  await wait(PRESSURE_HOLD_MS)
  const innocent = await greeted(lab, 'batch', CART_IP)
  t.ok(opened(innocent))
  const pid = dataPid(lab)
  // So low that no number is one that says pressure: else who has most is refused before there is none left.
  limitDescriptors(pid, EXHAUSTED)
  const held: LabSocket[] = []
  let refused: LabSocket | null = null
  while (refused === null && held.length < DESCRIPTORS) {
    const next = await greeted(lab, 'front', CART_IP)
    if (opened(next)) held.push(next)
    else refused = next
  }
  t.equal(refused?.error, 'ECONNRESET', 'refused at once, it does not hang')
  await poll('a word about it', () => lab.log('n1').includes('"OUT_OF_DESCRIPTORS"') || null)
  await wait(LOOKS_MS) // it looks at itself now and then, and cannot
  t.ok(await echoes(innocent), 'what is open goes on')
  t.comment(`${held.length} more were possible`)
  limitDescriptors(pid, DESCRIPTORS)
  await servedAgain(lab, CART_IP)
  t.equal(dataPid(lab), pid, 'by the same process')
  for (const each of held) each.destroy()
  innocent.destroy()
}

async function testBuffers(t: Test, lab: MeshLab): Promise<void> {
  await lab.restart('n1', { SIDESTEP_POD_BUFFERED_BYTES: String(BUFFERED_BYTES) })
  const known = (await lab.records('n1')).length
  const paused = Array.from({ length: PAUSED }, () => lab.connect('front', CART_IP, BULK_PORT, 'paused'))
  const reader = lab.connect('batch', CART_IP, BULK_PORT, 'paused')
  await reader.until('connected', ({ isConnected }) => isConnected)
  reader.count()
  const cut = await lab.recordsAfter('n1', known, ({ reason }) => reason === 'LIMIT_POD')
  t.ok(cut.every((each) => each['src.workload'] === 'front'))
  await reader.until('all of it', ({ text }) => text !== '')
  t.equal(reader.text, `${BULK_BYTES} ${bulkHash()}`, 'batch, which reads, gets all')
  const next = await greeted(lab, 'front', CART_IP)
  t.ok(opened(next), 'front has new ones')
  for (const each of [...paused, reader, next]) each.destroy()
}

async function testNodeBuffers(t: Test, lab: MeshLab): Promise<void> {
  await lab.restart('n1', {
    SIDESTEP_POD_BUFFERED_BYTES: String(POD_BUFFERED_BYTES),
    SIDESTEP_WORKER_BUFFERED_BYTES: String(NODE_BUFFERED_BYTES),
  })
  const innocent = await greeted(lab, 'batch', CART_IP)
  const paused: LabSocket[] = []
  const refused = await poll('front is refused, which has most', async () => {
    if (paused.length < MOST_PAUSED) paused.push(lab.connect('front', CART_IP, BULK_PORT, 'paused'))
    await wait(FILLING_MS)
    const next = await greeted(lab, 'front', CART_IP)
    const isServed = opened(next)
    next.destroy()
    return isServed ? null : next
  })
  t.equal(refused.error, 'ECONNRESET')
  t.ok((await refusedCount(lab, 'front', 'node')) > 0)
  const other = await greeted(lab, 'batch', CART_IP)
  t.ok(opened(other), 'batch, which has little, is not')
  // A client that reads nothing would not hear of its end.
  const open = JSON.parse((await lab.admin('n1', '/connections')).text) as { destination: string }[] // as: the route's answer
  t.equal(open.filter((each) => each.destination === `${CART_IP}:${BULK_PORT}`).length, paused.length)
  t.comment(`${paused.length} that are not read fill it, none of them is cut off`)
  for (const each of paused) each.destroy()
  await servedAgain(lab, CART_IP)
  t.ok(await echoes(innocent))
  for (const each of [innocent, other]) each.destroy()
}

t.test('a node that runs out of something', { timeout: 230_000 }, async (t) => {
  const oneWorker = { SIDESTEP_WORKER_COUNT: '1' } // what is looked at for shedding is of one worker
  const lab = await MeshLab.start(labDirectory(t), labMesh([]), oneWorker, async (lab) => {
    lab.serving = ['cart', 'stranger']
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  await t.test(
    'of descriptors: idle tunnels give way, then half-closed connections, then who has most is refused',
    { timeout: 150_000 },
    (t) => testOrder(t, lab),
  )
  await t.test('of all descriptors: a connection is refused at once, and it recovers', (t) =>
    testExhaustion(t, lab),
  )
  await t.test('of memory for a pod: its streams are reset, another pod’s are not', (t) =>
    testBuffers(t, lab),
  )
  await t.test(
    'of memory for all pods: new connections of who has most are refused, nothing is cut off',
    (t) => testNodeBuffers(t, lab),
  )
})
