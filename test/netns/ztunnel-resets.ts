// SPDX-License-Identifier: Apache-2.0
// Destinations that break off in every phase of a tunnel, reset streams, send GOAWAY in storms, or stop reading: the caller gets
// an end and one record with a reason, at bounded cost, and nobody else notices.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Break, BreakingPeerOptions } from '../support/breaking-peer.ts'
import { TestAuthority } from '../support/certificates.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const PROGRAM = fileURLToPath(new URL('../support/breaking-peer.ts', import.meta.url))
const PEER_IP = '10.1.0.3'
const CART_IP = '10.2.0.1'
/** Sockets that dialers keep ready: eight each, in two workers. */
const SPARE_SOCKETS = 16
/** Attempts of one call: what docs/limits.md says of retries. */
const MAX_ATTEMPTS = 3
const CALLS = 4
const MAX_GROWTH_KB = 40_000
const STALLED_BYTES = 64_000_000

/** How it breaks → what the caller's record says. */
const BEFORE_THE_ANSWER: ReadonlyArray<readonly [Break, RegExp]> = [
  // The reset may be there before we have looked whether we are connected.
  ['accept', /^(TLS_HANDSHAKE|CONNECT_FAILED)$/],
  ['hello', /^TLS_HANDSHAKE$/],
  ['secure', /^TUNNEL_RESET$/],
  ['preface', /^TUNNEL_RESET$/],
  ['connect', /^TUNNEL_RESET$/],
  ['reset-stream', /^STREAM_RESET$/],
  ['goaway-first', /^DRAIN$/],
  ['goaway-connect', /^DRAIN$/],
  ['garbage', /^H2_COMPRESSION$/],
]
const AFTER_THE_ANSWER: ReadonlyArray<readonly [Break, RegExp]> = [
  ['answered', /^TUNNEL_RESET$/],
  ['answered-reset', /^STREAM_RESET$/],
  ['half', /^TUNNEL_RESET$/],
  ['goaway-storm', /^H2_FLOOD$/],
]

t.setTimeout(240_000)

/** The process of a destination. */
class Peer {
  readonly #child: ChildProcess
  readonly #lines: string[] = []

  constructor(child: ChildProcess) {
    this.#child = child
    if (child.stdout === null) throw new Error('its output is a pipe')
    createInterface(child.stdout).on('line', (line) => this.#lines.push(line))
  }
  async breaks(how: Break): Promise<void> {
    this.#child.stdin?.write(`${how}\n`)
    await poll(`the peer as ${how}`, () => this.#lines.includes(`as ${how}`) || null)
  }
  async isUp(): Promise<void> {
    await poll('the peer', () => this.#lines.includes('up') || null)
  }
  get connections(): number {
    return this.#lines.filter((line) => line === 'connection').length
  }
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await ended
  }
}

interface World {
  readonly lab: MeshLab
  readonly peer: Peer
  readonly innocent: LabSocket
}

function residentKb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? Number.NaN)
}

/** Tunnels that stand to the peer. */
function tunnelsFrom(lab: MeshLab): number {
  const text = lab.namespaceOf('front').run(() => readFileSync('/proc/thread-self/net/tcp', 'latin1'))
  return text.split('\n').filter((line) => / 0300010A:3AA0 01 /.test(line)).length
}

const descriptorCount = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

async function startPeer(t: Test, lab: MeshLab): Promise<Peer> {
  const authority = await TestAuthority.load(await lab.rootPem())
  const own = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'peer' }
  const { certificatePem, privateKeyPem } = await authority.sign(own)
  const options: BreakingPeerOptions = { ip: PEER_IP, certificatePem, privateKeyPem }
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', PROGRAM, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {},
    })
  const peer = new Peer(lab.namespaceOf('stranger').run(start))
  t.teardown(() => peer.stop())
  await peer.isUp()
  return peer
}

async function assertUndisturbed(t: Test, { innocent }: World): Promise<void> {
  const before = innocent.text.length
  innocent.write('ping')
  await innocent.until('an echo', ({ text }) => text.length === before + 4)
  t.equal(innocent.isClosed, false, 'the innocent connection goes on')
}

/** Those of calls of the peer. */
async function recordsOf(lab: MeshLab): Promise<readonly LabRecord[]> {
  const all = await lab.records('n1')
  return all.filter((each) => `${each['dst.addr']}`.startsWith(`${PEER_IP}:`))
}

/** Every worker has a tunnel that serves: what failed before is forgiven. Then it breaks. */
async function breakNow({ lab, peer }: World, how: Break): Promise<void> {
  await peer.breaks('never')
  const known = (await recordsOf(lab)).length
  let made = 0
  await poll('calls that are answered', async () => {
    made += 2 * CALLS
    const sockets = Array.from({ length: 2 * CALLS }, () => lab.connect('front', PEER_IP, 8080))
    for (const socket of sockets)
      await socket.until('an end', ({ isClosed, text }) => isClosed || text === 'hello')
    const isServed = sockets.every(({ text }) => text === 'hello')
    for (const socket of sockets) socket.destroy()
    for (const socket of sockets) await socket.until('its end', ({ isClosed }) => isClosed)
    return isServed || null
  })
  await peer.breaks(how)
  await poll('no tunnel of before', () => tunnelsFrom(lab) === 0 || null)
  // They end with their tunnels, and are written some time after.
  await poll('their records', async () => (await recordsOf(lab)).length - known >= made || null)
}

/** Calls some times at once; the records of the caller's side, and how many connections the peer got for them. */
async function call(
  world: World,
  how: Break,
): Promise<{ records: readonly LabRecord[]; dials: number; sockets: LabSocket[] }> {
  const { lab, peer } = world
  await breakNow(world, how)
  const before = peer.connections
  const known = (await recordsOf(lab)).length
  const sockets = Array.from({ length: CALLS }, () => lab.connect('front', PEER_IP, 8080))
  // A client that has heard an end hears of a reset only when it writes.
  for (const socket of sockets)
    await socket.until('its end', ({ isClosed, hasEnded }) => {
      if (hasEnded && !isClosed) socket.write('more')
      return isClosed
    })
  const records = await poll(`${CALLS} records`, async () => {
    const all = (await recordsOf(lab)).slice(known)
    return all.length >= CALLS ? all : null
  })
  return { records, dials: peer.connections - before, sockets }
}

t.test('destinations that break', async (t) => {
  const mesh = labMesh([]).replace(
    'services:\n-',
    `- {uid: peer, name: peer, namespace: shop, serviceAccount: peer, trustDomain: cluster.local, workloadIps: ["${PEER_IP}"], ` +
      'protocol: HBONE, node: n9, services: {}}\nservices:\n-',
  )
  const lab = await MeshLab.start(labDirectory(t), mesh)
  t.teardown(() => lab.close())
  const peer = await startPeer(t, lab)
  const innocent = lab.connect('front', CART_IP, 9001)
  await innocent.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const world: World = { lab, peer, innocent }
  const [pid = -1] = lab.dataPids('n1')
  const before = { kb: residentKb(pid), descriptors: descriptorCount(pid) }

  for (const [how, reason] of [...BEFORE_THE_ANSWER, ...AFTER_THE_ANSWER]) {
    await t.test(how, async (t) => {
      const { records, dials, sockets } = await call(world, how)
      t.equal(records.length, CALLS, 'one record each')
      for (const record of records) t.match(record, { reason, direction: 'outbound' })
      t.ok(dials > 0 && dials <= CALLS * MAX_ATTEMPTS, `${dials} connections for ${CALLS} calls`)
      const isAnswered = AFTER_THE_ANSWER.some(([each]) => each === how)
      // A client that is reset before it has looked whether it is connected is told of that, and reads nothing.
      const readers = sockets.filter(({ isConnected }) => isConnected)
      t.ok(readers.length > 0)
      t.same(
        readers.map(({ text }) => text),
        readers.map(() => (isAnswered ? 'hello' : '')),
        'what had come was delivered, and nothing else',
      )
      await assertUndisturbed(t, world)
    })
  }

  await t.test('a destination that reads no more holds its caller, and little memory', async (t) => {
    await breakNow(world, 'silent')
    const stalled = lab.connect('front', PEER_IP, 8080)
    await stalled.until('hello', ({ text }) => text === 'hello')
    stalled.write('x'.repeat(STALLED_BYTES))
    const openKb = residentKb(pid)
    await assertUndisturbed(t, world)
    await new Promise((resolve) => setTimeout(resolve, 2000))
    await assertUndisturbed(t, world)
    const growthKb = residentKb(pid) - openKb
    t.ok(growthKb < MAX_GROWTH_KB, `the data process has grown by ${growthKb} KB of ${STALLED_BYTES / 1000}`)
    t.equal(stalled.isClosed, false)
    const known = (await lab.records('n1')).length
    stalled.reset()
    const records = await lab.recordsAfter('n1', known, (each) => `${each['dst.addr']}`.startsWith(PEER_IP))
    t.equal(records.length, 1)
    t.match(records[0], { reason: 'PEER_RESET', direction: 'outbound' })
    t.ok(Number(records[0]?.bytes_sent) < STALLED_BYTES, 'what was not taken was not sent')
  })

  t.ok(residentKb(pid) - before.kb < MAX_GROWTH_KB, `grown from ${before.kb} to ${residentKb(pid)} KB`)
  await peer.stop()
  await poll(
    'descriptors as before',
    () => descriptorCount(pid) <= before.descriptors + SPARE_SOCKETS || null,
  ).catch((error: Error) => {
    throw new Error(`${error.message}: ${descriptorCount(pid)}, ${before.descriptors} before`)
  })
  t.same(lab.dataPids('n1'), [pid], 'the data process is still the same')
})
