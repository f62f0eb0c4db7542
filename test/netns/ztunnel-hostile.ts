// SPDX-License-Identifier: Apache-2.0
// Hostile peers at the tunnel port of a real ztunnel: each kind of bad certificate and each kind of bad HTTP/2 ends that
// tunnel only, with its reason, at bounded cost, while an innocent connection goes on.
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { H2_ERROR } from '../../mesh/errors/reasons.ts'
import { TestAuthority, type TestCertificate } from '../support/certificates.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import {
  connectFrame,
  END_HEADERS,
  FRAME_TYPE,
  frame,
  literals,
  PREFACE,
  TunnelAttacker,
} from '../support/tunnel-attacker.ts'

const CART_IP = '10.2.0.1'
const HBONE_PORT = 15_008
const ONE_TEST = { timeout: 30_000 }
/** All attacks together: what one tunnel may cost, many times over, and far below what was sent. */
const MAX_GROWTH_KB = 40_000
const FRONT = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'front' }
const HEADER_BYTES = 10_485_760
const EMPTY = Buffer.alloc(0)
const settings = frame(FRAME_TYPE.SETTINGS, 0, 0, EMPTY)

interface World {
  readonly lab: MeshLab
  readonly authority: TestAuthority
  readonly innocent: LabSocket
  readonly good: TestCertificate
}

async function attack({ lab }: World, own: TestCertificate | null): Promise<TunnelAttacker> {
  const raw = lab.connect('stranger', CART_IP, HBONE_PORT)
  await raw.until('connected', ({ isConnected }) => isConnected)
  return new TunnelAttacker(raw, own)
}

/** The innocent connection, opened before everything, still carries bytes. */
async function assertUndisturbed(t: Test, { innocent }: World): Promise<void> {
  const before = innocent.text.length
  innocent.write('ping')
  await innocent.until('an echo', ({ text }) => text.length === before + 4)
  t.equal(innocent.isClosed, false, 'the innocent connection goes on')
}

function residentKb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? Number.NaN)
}

async function testCertificates(t: Test, world: World): Promise<void> {
  const { lab, authority } = world
  const foreign = await (await TestAuthority.create()).sign(FRONT)
  const cases: Array<readonly [string, TestCertificate | null, string | RegExp]> = [
    ['no certificate', null, 'CERT_MISSING'],
    ['a foreign CA', foreign, /^CERT_/],
    ['expired', await authority.signBad('expired', FRONT), 'CERT_EXPIRED'],
    ['not yet valid', await authority.signBad('not-yet-valid', FRONT), 'CERT_NOT_YET_VALID'],
    ['a CA as leaf', await authority.signBad('ca-as-leaf', FRONT), 'CERT_INVALID'],
    ['no SPIFFE id', await authority.signBad('no-spiffe-id', FRONT), /^(IDENTITY_MISSING|CERT_INVALID)$/],
    ['another trust domain', await authority.signBad('other-trust-domain', FRONT), 'TRUST_DOMAIN'],
  ]
  for (const [what, certificate, reason] of cases) {
    await t.test(`certificate: ${what}`, ONE_TEST, async (t) => {
      const known = (await lab.records('n2')).length
      const attacker = await attack(world, certificate)
      await attacker.ended()
      t.match(attacker.failure, /ALERT|alert/, 'the peer is told by an alert')
      const [record] = await lab.recordsAfter('n2', known, ({ direction }) => direction === 'inbound')
      t.match(record, { reason, transport: 'HBONE', bytes_sent: 0, bytes_recv: 0 })
      t.type(record?.fix, 'string')
      attacker.destroy()
      await assertUndisturbed(t, world)
    })
  }
}

function* headerFlood(): Generator<Buffer> {
  yield frame(FRAME_TYPE.HEADERS, 0, 1, literals({ ':method': 'CONNECT', ':authority': `${CART_IP}:8080` }))
  const piece = literals({ 'x-flood': 'f'.repeat(16_000) })
  for (let sent = 0; sent < HEADER_BYTES; sent += piece.length)
    yield frame(FRAME_TYPE.CONTINUATION, 0, 1, piece)
}

function* repeated(count: number, make: (index: number) => Buffer): Generator<Buffer> {
  for (let index = 0; index < count; index++) yield make(index)
}

const one = (bytes: Buffer): Iterable<Buffer> => [bytes]
const reset = (stream: number): Buffer => frame(FRAME_TYPE.RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]))
const ping = (): Buffer => frame(FRAME_TYPE.PING, 0, 0, Buffer.alloc(8))
/** What is sent after the preface, and the error codes that may name it in the GOAWAY. */
const FRAME_ATTACKS: ReadonlyArray<
  readonly [string, () => Iterable<Buffer>, ReadonlyArray<keyof typeof H2_ERROR>]
> = [
  [
    'a frame longer than allowed',
    () => one(frame(FRAME_TYPE.DATA, 0, 1, EMPTY, 0xff_ffff)),
    ['FRAME_SIZE_ERROR'],
  ],
  [
    'an index of no header table',
    () => one(frame(FRAME_TYPE.HEADERS, END_HEADERS, 1, Buffer.from([0xff, 0xff, 0x7f]))),
    ['COMPRESSION_ERROR'],
  ],
  [
    'data on a stream that never was',
    () => one(frame(FRAME_TYPE.DATA, 0, 77, Buffer.alloc(10))),
    ['PROTOCOL_ERROR', 'STREAM_CLOSED'],
  ],
  ['a stream of an even number', () => one(connectFrame(2, `${CART_IP}:8080`)), ['PROTOCOL_ERROR']],
  [
    'a CONTINUATION of nothing',
    () => one(frame(FRAME_TYPE.CONTINUATION, END_HEADERS, 1, EMPTY)),
    ['PROTOCOL_ERROR'],
  ],
  [
    'settings that make no sense',
    () => one(frame(FRAME_TYPE.SETTINGS, 0, 0, Buffer.alloc(5))),
    ['FRAME_SIZE_ERROR'],
  ],
  ['10 MB of headers', headerFlood, ['ENHANCE_YOUR_CALM']],
  ['a flood of pings', () => repeated(50_000, ping), ['ENHANCE_YOUR_CALM']],
  ['a flood of settings', () => repeated(20_000, () => settings), ['ENHANCE_YOUR_CALM']],
  [
    'a flood of empty data',
    () => [
      connectFrame(1, `${CART_IP}:9001`),
      ...repeated(50_000, () => frame(FRAME_TYPE.DATA, 0, 1, EMPTY)),
    ],
    ['ENHANCE_YOUR_CALM'],
  ],
  [
    'rapid reset',
    () =>
      repeated(20_000, (index) =>
        Buffer.concat([connectFrame(2 * index + 1, `${CART_IP}:8080`), reset(2 * index + 1)]),
      ),
    ['ENHANCE_YOUR_CALM'],
  ],
]

async function testFrames(t: Test, world: World): Promise<void> {
  for (const [what, frames, codes] of FRAME_ATTACKS) {
    await t.test(`HTTP/2: ${what}`, ONE_TEST, async (t) => {
      const attacker = await attack(world, world.good)
      await poll('secure', () => attacker.isSecure || null)
      attacker.tls.write(PREFACE)
      attacker.tls.write(settings)
      for (const bytes of frames()) {
        if (attacker.isClosed || attacker.failure !== '' || attacker.goaway() !== null) break
        if (!attacker.tls.write(bytes))
          await poll('room', () => !attacker.tls.writableNeedDrain || attacker.isClosed || null)
      }
      await attacker.ended()
      const code = attacker.goaway()
      t.ok(
        codes.some((name) => H2_ERROR[name] === code),
        `GOAWAY ${code}, one of ${codes.join(', ')}`,
      )
      attacker.destroy()
      await assertUndisturbed(t, world)
    })
  }

  await t.test('HTTP/2: not a preface', ONE_TEST, async (t) => {
    const attacker = await attack(world, world.good)
    await poll('secure', () => attacker.isSecure || null)
    attacker.tls.write('GET / HTTP/1.1\r\nhost: cart\r\n\r\n')
    await attacker.ended()
    t.equal(
      attacker.frames().some(({ type }) => type === FRAME_TYPE.HEADERS),
      false,
    )
    attacker.destroy()
    await assertUndisturbed(t, world)
  })
}

async function testAuthorities(t: Test, world: World): Promise<void> {
  for (const [what, authority] of [
    ['no port', CART_IP],
    ['a port that is none', `${CART_IP}:99999`],
    ['an address of another pod', '10.1.0.1:8080'],
    ['far too long', `${'a'.repeat(5000)}:80`],
  ] as const) {
    await t.test(`authority: ${what}`, ONE_TEST, async (t) => {
      const known = (await world.lab.records('n2')).length
      const attacker = await attack(world, world.good)
      await poll('secure', () => attacker.isSecure || null)
      attacker.tls.write(Buffer.concat([Buffer.from(PREFACE), settings, connectFrame(1, authority)]))
      const answer = await poll(
        'an answer',
        () =>
          attacker.frames().find(({ type, stream }) => type === FRAME_TYPE.HEADERS && stream === 1) ?? null,
      )
      t.not(answer.payload[0], 0x88, 'not 200')
      attacker.tls.write(connectFrame(3, `${CART_IP}:9001`))
      const accepted = await poll(
        'the next stream',
        () =>
          attacker.frames().find(({ type, stream }) => type === FRAME_TYPE.HEADERS && stream === 3) ?? null,
      )
      t.equal(accepted.payload[0], 0x88, 'the tunnel goes on: 200 for a good stream')
      const [record] = await world.lab.recordsAfter('n2', known, ({ reason }) => reason !== 'OK')
      t.match(record?.reason, /^CONNECT_/)
      attacker.destroy()
      await assertUndisturbed(t, world)
    })
  }
}

t.test('hostile peers at the tunnel port', { timeout: 110_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh(['batch']))
  t.teardown(() => lab.close())
  const authority = await TestAuthority.load(await lab.rootPem())
  const innocent = lab.connect('front', CART_IP, 9001)
  await innocent.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const world: World = { lab, authority, innocent, good: await authority.sign(FRONT) }
  const [pid = -1] = lab.dataPids('n2')
  const beforeKb = residentKb(pid)

  await testCertificates(t, world)
  await testAuthorities(t, world)
  await testFrames(t, world) // last: a flood leaves more records than the API keeps

  const growthKb = residentKb(pid) - beforeKb
  t.ok(growthKb < MAX_GROWTH_KB, `the data process has grown by ${growthKb} KB`)
  t.same(lab.dataPids('n2'), [pid], 'and is still the same')
})
