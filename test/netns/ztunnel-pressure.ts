// SPDX-License-Identifier: Apache-2.0
// Things that go wrong around a real ztunnel: applications that do not read or break off, pods that vanish, a network
// that falls silent, a disk that is full. What is bounded stays bounded, and nobody else notices.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statfsSync, truncateSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { writeSettings } from '../../mesh/reactor/netlink/virtual-network.ts'
import { BULK_BYTES, bulkHash } from '../support/bulk-pattern.ts'
import { type LabPod, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_VIP = '10.96.0.10'
const CART_IP = '10.2.0.1'
const [HTTP_PORT, GREETER_PORT, BULK_PORT] = [8080, 9001, 9002] as const
const ONE_TEST = { timeout: 60_000 }
/** What 64 MB that nobody reads may cost each data process: windows and queues, not the data. */
const MAX_GROWTH_KB = 24_000
/** PING every 10 s, given up after 20 s, and the looks in between. */
const SILENCE_MS = 45_000
const DISK_BYTES = 65_536
const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\n\r\n'

function residentKb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? Number.NaN)
}
const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

async function greeted(lab: MeshLab, pod: LabPod): Promise<LabSocket> {
  const socket = lab.connect(pod, CART_IP, GREETER_PORT)
  await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  return socket
}

async function echoes(socket: LabSocket): Promise<boolean> {
  const before = socket.text.length
  socket.write('ping')
  await socket.until('an echo', ({ text }) => text.length === before + 4)
  return !socket.isClosed
}

async function answers(lab: MeshLab, pod: LabPod, ip = CART_VIP, port = 80): Promise<boolean> {
  const socket = lab.connect(pod, ip, port)
  socket.write(REQUEST)
  await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.destroy()
  return socket.text.includes('200 OK')
}

/** Bytes that n1 has brought to the bulk connection. */
async function bulkProgress(lab: MeshLab): Promise<number> {
  const list = JSON.parse((await lab.admin('n1', '/connections')).text) as Array<Record<string, unknown>> // as: our API
  const bulk = list.find(({ destination }) => String(destination).endsWith(`:${BULK_PORT}`))
  return Number(bulk?.bytesReceived ?? 0)
}

async function testNeverReading(t: Test, lab: MeshLab, innocent: LabSocket): Promise<void> {
  await t.test('a client that does not read holds up only itself, and loses nothing', ONE_TEST, async (t) => {
    const pids = [...lab.dataPids('n1'), ...lab.dataPids('n2')]
    const before = pids.map(residentKb)
    const socket = lab.connect('front', CART_IP, BULK_PORT, 'paused')
    await socket.until('connected', ({ isConnected }) => isConnected)
    let last = -1
    const stalledAt = await poll('a stall', async () => {
      const now = await bulkProgress(lab)
      const isStalled = now > 0 && now === last
      last = now
      await wait(300)
      return isStalled ? now : null
    })
    t.ok(stalledAt < BULK_BYTES / 2, `stalled after ${stalledAt} bytes`)
    for (const [index, pid] of pids.entries()) {
      const growthKb = residentKb(pid) - (before[index] ?? 0)
      t.ok(growthKb < MAX_GROWTH_KB, `data process ${index} has grown by ${growthKb} KB`)
    }
    t.ok(await echoes(innocent), 'others flow on the same tunnel')
    socket.count()
    await socket.until('all of it', ({ text }) => text !== '')
    t.equal(socket.text, `${BULK_BYTES} ${bulkHash()}`)
    socket.destroy()
  })
}

async function testBreakingOff(t: Test, lab: MeshLab): Promise<void> {
  await t.test('what an application breaks off is never taken for its end', ONE_TEST, async (t) => {
    const known = (await lab.records('n2')).length
    const socket = await greeted(lab, 'front')
    // The greeter resets when it is told to: a client that is reset must see a reset.
    socket.write('reset')
    await socket.until('closed', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    t.equal(socket.error, 'ECONNRESET')
    t.equal(socket.hasEnded, false, 'no orderly end')
    const found = await lab.recordsAfter('n2', known, ({ reason }) => reason !== 'OK')
    t.same(
      found.map(({ reason }) => reason),
      ['PEER_RESET'],
    )
    socket.destroy()
  })
}

async function testPods(t: Test, lab: MeshLab, innocent: LabSocket): Promise<void> {
  await t.test('a pod that leaves is cut off, gives everything back, and may return', ONE_TEST, async (t) => {
    const [pid = -1] = lab.dataPids('n1')
    // batch's caller is refused by policy: its own tunnel stays, its stream does not.
    t.notOk(await answers(lab, 'batch'))
    const known = (await lab.records('n1')).length
    const before = await settledDescriptors(pid)
    await lab.enrol('n1', ['front'])
    await poll('fewer descriptors', () => descriptors(pid) < before || null)
    const without = await settledDescriptors(pid)
    t.ok(before - without >= 5, `${before - without} descriptors are gone: namespace and listeners`)
    t.ok(await echoes(innocent), 'others stay')
    t.ok(
      await answers(lab, 'batch', CART_IP, HTTP_PORT),
      'its plain call bears no identity that a policy knows',
    )
    for (let round = 0; round < 3; round++) {
      await lab.enrol('n1', ['front', 'batch'])
      await poll('back', () => descriptors(pid) > without || null)
      await lab.enrol('n1', ['front'])
      await poll('gone', async () => (await settledDescriptors(pid)) <= without || null)
    }
    await lab.enrol('n1', ['front', 'batch'])
    await poll('refused again', async () => {
      await answers(lab, 'batch')
      return (await lab.records('n1')).slice(known).some(({ reason }) => reason === 'POLICY_DENY') || null
    })
  })

  await t.test('a pod whose namespace is not there holds up nobody, and is named', ONE_TEST, async (t) => {
    const ghost =
      '- {uid: u-ghost, name: ghost, namespace: shop, serviceAccount: ghost, netns: /proc/1/ns/nothing}\n'
    await lab.enrol('n1', ['front', 'batch'], ghost)
    await poll('a word about it', () => lab.log('n1').includes('ghost') || null)
    t.ok(await answers(lab, 'front'))
    t.ok(await echoes(innocent))
    await lab.enrol('n1', ['front', 'batch'])
  })

  await t.test(
    'of two pods with one namespace the first is served, the other is named',
    ONE_TEST,
    async (t) => {
      const { path } = lab.namespaceOf('front')
      const twin = `- {uid: u-twin, name: twin, namespace: shop, serviceAccount: twin, netns: ${path}}\n`
      await lab.enrol('n1', ['front', 'batch'], twin)
      const line = await poll('a word about it', () => /.*"u-twin".*/.exec(lab.log('n1'))?.[0] ?? null)
      t.match(JSON.parse(line), {
        reason: 'NAMESPACE_SHARED',
        detail: `${path} is the namespace of shop/front (u-front)`,
        fix: /enrolment file/,
      })
      t.ok(await answers(lab, 'front'))
      t.ok(await echoes(innocent))
      await lab.enrol('n1', ['front', 'batch'])
    },
  )
}

async function settledDescriptors(pid: number): Promise<number> {
  let last = -1
  return await poll('settled', async () => {
    const now = descriptors(pid)
    const isSettled = now === last
    last = now
    await wait(400)
    return isSettled ? now : null
  })
}

async function testDisk(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a full disk costs records in the file, counted, and nothing else', ONE_TEST, async (t) => {
    const disk = join(lab.directory, 'records')
    const file = join(disk, 'n1')
    const isFull = (): boolean => statfsSync(disk).bavail === 0
    while (!isFull()) for (let index = 0; index < 20; index++) await answers(lab, 'front')
    const dropped = async (): Promise<number> =>
      Number(
        /^sidestep_records_dropped(?:_total)? (\d+)/m.exec((await lab.admin('n1', '/metrics')).text)?.[1],
      )
    await poll('the counter', async () => {
      await answers(lab, 'front')
      return (await dropped()) > 0 || null
    })
    t.match(lab.log('n1'), /RECORDS_DROPPED/)
    const known = (await lab.records('n1')).length
    t.ok(await answers(lab, 'front'), 'traffic goes on')
    t.ok(await lab.recordsAfter('n1', known, () => true), 'memory has the last ones')
    truncateSync(file)
    await poll('written again', async () => {
      await answers(lab, 'front')
      return readFileSync(file, 'utf8').includes('"reason":"OK"') || null
    })
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
    for (const line of lines.filter((each) => each !== ''))
      t.match(JSON.parse(line), { msg: 'connection complete' })
  })
}

async function testSilence(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a peer that falls silent without a word is given up, and found again',
    ONE_TEST,
    async (t) => {
      const { namespace } = lab.network.node('n2')
      const forward = (isOn: boolean): void =>
        writeSettings(namespace, { 'net/ipv4/ip_forward': isOn ? 1 : 0 })
      const open = await greeted(lab, 'front')
      const known = (await lab.records('n1')).length
      const silentMs = performance.now()
      forward(false)
      await open.until('given up', ({ isClosed, hasEnded }) => isClosed || hasEnded, SILENCE_MS)
      t.comment(`given up after ${((performance.now() - silentMs) / 1000).toFixed(1)} s`)
      t.equal(open.error, 'ECONNRESET')
      const [record] = await lab.recordsAfter('n1', known, ({ direction }) => direction === 'outbound')
      t.match(record, { reason: 'PEER_UNRESPONSIVE' })
      forward(true)
      await poll('answers again', async () => (await answers(lab, 'front').catch(() => false)) || null)
    },
  )
}

t.test('pressure on two nodes', { timeout: 170_000 }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-pressure-')) // not tap's: it holds a mount
  const disk = join(directory, 'records')
  await mkdir(disk)
  t.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk]).status, 0)
  t.teardown(async () => {
    spawnSync('umount', ['-l', disk])
    await rm(directory, { recursive: true })
  })
  const lab = await MeshLab.start(directory, labMesh(['batch']))
  t.teardown(() => lab.close())
  const innocent = await greeted(lab, 'front')

  await testNeverReading(t, lab, innocent)
  await testBreakingOff(t, lab)
  await testPods(t, lab, innocent)
  await testDisk(t, lab)
  await testSilence(t, lab)
})
