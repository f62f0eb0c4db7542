// SPDX-License-Identifier: Apache-2.0
// A data process that is drained: idle tunnels are told at once and not waited for, open streams go on until the drain
// time is over. Real processes, observed from outside only.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { H2_ERROR } from '../../mesh/errors/reasons.ts'
import { TestAuthority, type TestCertificate } from '../support/certificates.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { connectFrame, FRAME_TYPE, frame, PREFACE, TunnelAttacker } from '../support/tunnel-attacker.ts'

const CART_IP = '10.2.0.1'
const GREETER = `${CART_IP}:9001`
const FRONT = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'front' }
const DRAIN_MS = 8000
/** "At once": far less than the drain time, far more than a message takes. */
const AT_ONCE_MS = 3500
/** Before the end of the drain. */
const LATE_MS = 1500
const ACK = 1
const STATUS_200 = 0x88
const EVERY_STREAM = 0x7fff_ffff
const NO_ERROR = H2_ERROR.NO_ERROR
const ONE_TEST = { timeout: 40_000 }

interface World {
  readonly lab: MeshLab
  readonly own: TestCertificate
}

/** A connection of the stranger to the tunnel port of cart. */
async function dial(lab: MeshLab): Promise<LabSocket> {
  const raw = lab.connect('stranger', CART_IP, 15_008)
  await raw.until('connected', ({ isConnected }) => isConnected)
  return raw
}

/** A peer with a tunnel of its own to cart that has spoken HTTP/2. */
async function tunnelTo({ lab, own }: World, dialled?: LabSocket): Promise<TunnelAttacker> {
  const raw = dialled ?? (await dial(lab))
  const peer = new TunnelAttacker(raw, own)
  await poll('secure', () => peer.isSecure || null)
  const empty = Buffer.alloc(0)
  peer.tls.write(PREFACE)
  peer.tls.write(frame(FRAME_TYPE.SETTINGS, 0, 0, empty))
  await poll('settings', () => peer.frames().some(({ type }) => type === FRAME_TYPE.SETTINGS) || null)
  peer.tls.write(frame(FRAME_TYPE.SETTINGS, ACK, 0, empty))
  return peer
}

/** Opens a stream to the greeter; resolves when it is connected. */
async function openStream(peer: TunnelAttacker, stream: number): Promise<void> {
  peer.tls.write(connectFrame(stream, GREETER))
  await poll('200', () => (statusOf(peer, stream) === STATUS_200 && textOf(peer, stream) !== '') || null)
}

function cancel(peer: TunnelAttacker, stream: number): void {
  peer.tls.write(frame(FRAME_TYPE.RST_STREAM, 0, stream, Buffer.from([0, 0, 0, H2_ERROR.CANCEL])))
}

const of = (peer: TunnelAttacker, kind: number, id: number): Buffer[] =>
  peer.frames().flatMap(({ type, stream, payload }) => (type === kind && stream === id ? [payload] : []))
const statusOf = (peer: TunnelAttacker, stream: number): number | undefined =>
  of(peer, FRAME_TYPE.HEADERS, stream)[0]?.[0]
const textOf = (peer: TunnelAttacker, stream: number): string =>
  Buffer.concat(of(peer, FRAME_TYPE.DATA, stream)).toString()
/** Last stream and error of each GOAWAY. */
const goaways = (peer: TunnelAttacker): Array<readonly [number, number]> =>
  of(peer, FRAME_TYPE.GOAWAY, 0).map((payload) => [payload.readUInt32BE(0), payload.readUInt32BE(4)])

/** Answers the PING that follows the first GOAWAY, as every peer does. */
async function answerPing(peer: TunnelAttacker): Promise<void> {
  const ping = await poll('a ping', () => of(peer, FRAME_TYPE.PING, 0)[0] ?? null)
  peer.tls.write(frame(FRAME_TYPE.PING, ACK, 0, ping))
}

function drain({ lab }: World): { readonly pid: number; readonly startMs: number } {
  const [pid = -1] = lab.dataPids('n2')
  process.kill(pid, 'SIGTERM')
  return { pid, startMs: performance.now() }
}

/** Waits until the process has been reaped: milliseconds since the drain began. */
async function ended({ pid, startMs }: { readonly pid: number; readonly startMs: number }): Promise<number> {
  await poll('the end of the process', () => !existsSync(`/proc/${pid}`) || null)
  return performance.now() - startMs
}

/** Asks the HTTP service of cart and hangs up. */
async function askCart({ lab }: World): Promise<LabSocket> {
  const socket = lab.connect('front', CART_IP, 8080)
  socket.write('GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n')
  await socket.until('an answer', ({ isClosed, hasEnded }) => isClosed || hasEnded)
  socket.end()
  await socket.until('closed', ({ isClosed }) => isClosed)
  return socket
}

async function testIdle(t: Test, world: World): Promise<void> {
  await t.test(
    'idle tunnels hear GOAWAY at once, and the process does not wait for them',
    ONE_TEST,
    async (t) => {
      t.match((await askCart(world)).text, /200 OK/) // leaves an idle tunnel of the other node
      const unused = await tunnelTo(world)
      const deaf = await tunnelTo(world) // answers no ping
      await openStream(deaf, 1)
      cancel(deaf, 1)
      await world.lab.recordsAfter('n2', 0, (record) => record['dst.addr'] === GREETER)
      const begun = drain(world)
      for (const peer of [unused, deaf]) {
        await poll('GOAWAY', () => goaways(peer).length > 0 || null)
        t.same(goaways(peer)[0], [EVERY_STREAM, NO_ERROR], 'the first one refuses nothing yet')
      }
      const toldMs = performance.now() - begun.startMs
      t.ok(toldMs < AT_ONCE_MS, `told after ${toldMs.toFixed(0)} ms`)
      await openStream(deaf, 3) // as if its CONNECT had been under way
      cancel(deaf, 3)
      await answerPing(unused)
      await Promise.all([unused.ended(), deaf.ended()])
      t.same(goaways(unused).at(-1), [0, NO_ERROR])
      t.same(goaways(deaf).at(-1), [3, NO_ERROR], 'the last stream that was looked at')
      t.equal(`${unused.failure}${deaf.failure}`, '', 'closed in order')
      const tookMs = await ended(begun)
      t.ok(tookMs < DRAIN_MS - AT_ONCE_MS, `ended after ${tookMs.toFixed(0)} ms`)
      t.match((await askCart(world)).text, /200 OK/, 'the next process serves')
      await world.lab.ready('n2')
    },
  )
}

async function testBusy(t: Test, world: World): Promise<void> {
  await t.test(
    'an open stream goes on until the drain time, new ones go to the next process',
    ONE_TEST,
    async (t) => {
      const { lab } = world
      const client = lab.connect('front', CART_IP, 9001)
      await client.until('the greeting', ({ text }) => text.endsWith('\r\n'))
      const busy = await tunnelTo(world)
      await openStream(busy, 1)
      const slow = await dial(lab)
      const idle = await tunnelTo(world)
      const begun = drain(world)

      await Promise.all([answerPing(busy), answerPing(idle)])
      await idle.ended()
      t.ok(performance.now() - begun.startMs < AT_ONCE_MS, 'the idle tunnel is closed at once')
      const late = await tunnelTo(world, slow)
      await answerPing(late)
      await late.ended()
      t.same(goaways(late).at(-1), [0, NO_ERROR], 'a handshake that ends later is told the same')
      await poll('the final GOAWAY', () => goaways(busy).length > 1 || null)
      t.same(goaways(busy), [
        [EVERY_STREAM, NO_ERROR],
        [1, NO_ERROR],
      ])
      busy.tls.write(connectFrame(3, GREETER))
      const before = textOf(busy, 1)
      for (let round = 1; performance.now() - begun.startMs < DRAIN_MS - AT_ONCE_MS; round++) {
        const [text, length] = [`still here ${round}`, client.text.length]
        client.write(text)
        busy.tls.write(frame(FRAME_TYPE.DATA, 0, 1, Buffer.from(text)))
        await client.until('an echo', (socket) => socket.text.slice(length) === text)
        await poll('an echo', () => textOf(busy, 1).endsWith(text) || null)
      }
      t.ok(textOf(busy, 1).length > before.length)
      t.not(statusOf(busy, 3), STATUS_200, 'a stream after the final GOAWAY is not served')
      t.notOk(client.isClosed || client.hasEnded)

      // Late: a handshake that nobody answers is given up after ten seconds, and the next process has to start.
      await wait(DRAIN_MS - LATE_MS - (performance.now() - begun.startMs))
      const next = askCart(world) // by the other node, which must use no tunnel that is drained
      const tookMs = await ended(begun)
      t.ok(tookMs > DRAIN_MS - 100 && tookMs < DRAIN_MS + 4000, `ended after ${tookMs.toFixed(0)} ms`)
      await client.until('the end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
      t.match((await next).text, /200 OK/, 'who came during the drain is served by the next process')
      const records = readFileSync(join(lab.directory, 'records', 'n2'), 'utf8')
        .trim()
        .split('\n')
      const cut = records
        .map((line) => JSON.parse(line) as LabRecord) // as: the ztunnel's own lines
        .filter(({ reason }) => reason === 'DRAIN')
      t.same(
        cut.map((record) => record['dst.addr']),
        [GREETER, GREETER],
        'both streams are recorded as ended by the drain',
      )
      busy.destroy()
    },
  )
}

t.test('draining a data process', { timeout: 90_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]), {
    SIDESTEP_DRAIN_SECONDS: String(DRAIN_MS / 1000),
  })
  t.teardown(() => lab.close())
  const authority = await TestAuthority.load(await lab.rootPem())
  const world: World = { lab, own: await authority.sign(FRONT) }
  await testIdle(t, world)
  await testBusy(t, world)
})
