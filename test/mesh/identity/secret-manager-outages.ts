// SPDX-License-Identifier: Apache-2.0
// A CA that is away for long, a thousand identities that want it back at once, and clocks that jump. No cryptography:
// what is looked at is who asks when.
import t, { type Test } from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import {
  CLOCK_CHECK_MS,
  RENEWAL_BURST,
  RENEWALS_PER_SECOND,
  SecretManager,
} from '../../../mesh/identity/secret-manager.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const HOUR_MS = 3_600_000
const MAX_BACKOFF_MS = 150_000
const URI = 'spiffe://cluster.local/ns/shop/sa/cart'
const identities = Array.from(
  { length: 1000 },
  (_, index) => `spiffe://cluster.local/ns/shop/sa/pod-${index}`,
)

/** A CA with a clock of its own, which goes on with the node's but is not set when the node's is. */
async function setUp(t: Test) {
  const clock = new ManualClock()
  /** When each request was made, by the node's clock. */
  const askedMs: number[] = []
  const ca = { isDown: false, offsetMs: 0, issued: 0 }
  const manager = new SecretManager({
    issuer: {
      async issue() {
        askedMs.push(clock.nowMs)
        if (ca.isDown) throw new MeshError('CERT_UNAVAILABLE', { retryable: true, detail: 'down' })
        return []
      },
    },
    requests: {
      async begin(identity) {
        return { owner: { identity, privateKeyPem: '', publicKeyInfo: new Uint8Array() }, csrPem: '' }
      },
      async finish({ identity }, _, nowMs): Promise<WorkloadCertificate> {
        const caMs = clock.nowMs + ca.offsetMs
        const notBeforeMs = caMs - 120_000
        const notAfterMs = caMs + 24 * HOUR_MS
        if (nowMs >= notAfterMs) throw new MeshError('CERT_EXPIRED')
        if (nowMs < notBeforeMs) throw new MeshError('CERT_NOT_YET_VALID')
        const pems = { chainPem: [], rootsPem: [], trustBundleId: '', privateKeyPem: '' }
        const serialNumber = String(++ca.issued)
        return { kind: 'workload-certificate', identity, ...pems, notBeforeMs, notAfterMs, serialNumber }
      },
    },
    clock,
    random: Math.random,
  })
  t.teardown(() => manager.close())

  /** Everything that waits for no time. */
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 12; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  /** Lets time pass as the machine counts it, timer by timer. */
  const pass = async (byMs: number): Promise<void> => {
    for (const endMs = clock.nowMs + byMs; clock.nowMs < endMs; ) {
      clock.advance(Math.min(clock.nextDelayMs ?? byMs, endMs - clock.nowMs))
      await settle()
    }
  }
  /** Sets the node's clock: no time passes, and the CA is where it was. */
  const jump = (byMs: number): void => {
    clock.jump(byMs)
    ca.offsetMs -= byMs
  }
  return { clock, manager, ca, askedMs, settle, pass, jump }
}

function mostWithin(timesMs: readonly number[], windowMs: number): number {
  let first = 0
  return timesMs.reduce((most, atMs, index) => {
    while ((timesMs[first] ?? 0) <= atMs - windowMs) first++
    return Math.max(most, index - first + 1)
  }, 0)
}

t.test(
  'a thousand identities ask a CA that is down, and one that came back, at a bounded rate',
  async (t) => {
    const { manager, ca, askedMs, settle, pass, jump } = await setUp(t)
    for (const identity of identities) manager.get(identity).catch(() => {})
    await settle()
    await pass(1000)
    t.equal(ca.issued, 1000, 'a start with a CA waits for nothing')
    ca.isDown = true
    jump(13 * HOUR_MS)
    ca.offsetMs = 0
    askedMs.length = 0
    await pass(HOUR_MS / 4)
    const downMost = mostWithin(askedMs, 1000)
    t.ok(askedMs.length > 1000, `all have tried: ${askedMs.length}`)
    t.ok(downMost <= RENEWAL_BURST + RENEWALS_PER_SECOND + 1, `${downMost} within a second while it is down`)
    const inLastMinute = askedMs.filter((atMs) => atMs > (askedMs.at(-1) ?? 0) - 60_000)
    t.ok(inLastMinute.length > 60, 'nobody has given up')
    ca.isDown = false
    askedMs.length = 0
    await pass(MAX_BACKOFF_MS + (1000 * 1000) / RENEWALS_PER_SECOND)
    const backMost = mostWithin(askedMs, 1000)
    t.equal(ca.issued, 2000, 'all have been renewed')
    t.ok(backMost <= RENEWAL_BURST + RENEWALS_PER_SECOND + 1, `${backMost} within a second when it is back`)
  },
)

t.test('after an outage longer than certificates a CA is found again in seconds, not minutes', async (t) => {
  for (const count of [1, 3]) {
    const { manager, ca, askedMs, pass, jump } = await setUp(t)
    const some = identities.slice(0, count)
    await Promise.all(some.map((identity) => manager.get(identity)))
    ca.isDown = true
    jump(25 * HOUR_MS)
    ca.offsetMs = 0
    await pass(HOUR_MS)
    t.ok(some.every((identity) => manager.current(identity) === undefined))
    const inLastHalf = askedMs.filter((atMs) => atMs > (askedMs.at(-1) ?? 0) - HOUR_MS / 2)
    t.ok(
      inLastHalf.length > 100 && inLastHalf.length < 120 + count * 18,
      `${inLastHalf.length} in half an hour`,
    )
    ca.isDown = false
    await pass(18_000 + count * 200)
    t.ok(
      some.every((identity) => manager.current(identity) !== undefined),
      'who asked first found it for all',
    )
    askedMs.length = 0
    await pass(HOUR_MS)
    t.same(askedMs, [], 'and nobody asks on')
  }
})

t.test('traffic goes before renewals, also while they queue', async (t) => {
  const { clock, manager, ca, pass, jump, settle } = await setUp(t)
  for (const identity of identities) void manager.get(identity)
  await pass(1000)
  jump(25 * HOUR_MS)
  ca.offsetMs = 0 // the CA's clock is right too: the machine slept
  await pass(CLOCK_CHECK_MS)
  t.equal(manager.current(identities[999] ?? ''), undefined)
  const got = manager.get(identities[999] ?? '')
  const askedAtMs = clock.nowMs
  await settle()
  t.equal((await got).serialNumber, String(ca.issued))
  t.equal(clock.nowMs, askedAtMs, 'without waiting')
})

t.test(
  'a clock set forward past the end: the certificate is renewed at once when somebody asks',
  async (t) => {
    const { manager, ca, jump } = await setUp(t)
    const first = await manager.get(URI)
    jump(25 * HOUR_MS)
    ca.offsetMs = 0
    t.equal(manager.current(URI), undefined)
    t.equal(manager.list()[0]?.state, 'Unavailable')
    t.not(await manager.get(URI), first)
  },
)

t.test('a clock set forward: the renewal it passed over comes within half a minute', async (t) => {
  const { manager, ca, askedMs, pass, jump } = await setUp(t)
  await manager.get(URI)
  jump(13 * HOUR_MS)
  ca.offsetMs = 0
  await pass(CLOCK_CHECK_MS)
  t.equal(askedMs.length, 2)
  t.equal(manager.list()[0]?.certificate?.serialNumber, '2')
})

t.test('clocks set back before a certificate begins: another one comes within half a minute', async (t) => {
  const { clock, manager, ca, pass, settle } = await setUp(t)
  void manager.get(URI)
  await settle()
  clock.jump(-2 * HOUR_MS) // the CA's too: both were ahead
  t.ok((manager.current(URI)?.notBeforeMs ?? 0) > clock.nowMs)
  await pass(CLOCK_CHECK_MS + 1000)
  t.equal(ca.issued, 2)
  t.ok((manager.current(URI)?.notBeforeMs ?? 0) <= clock.nowMs)
  await pass(HOUR_MS)
  t.equal(ca.issued, 2, 'and that is that')
})

t.test('a node whose clock is ahead of the CA’s neither spins nor stops', async (t) => {
  for (const aheadHours of [13, 23.5, 25, 24 * 365]) {
    const { clock, manager, ca, askedMs, pass, jump } = await setUp(t)
    await manager.get(URI)
    jump(aheadHours * HOUR_MS)
    await pass(HOUR_MS)
    t.ok(askedMs.length >= 2, `${aheadHours} h ahead: it tries`)
    t.ok(
      askedMs.length <= 2 + HOUR_MS / 60_000,
      `${aheadHours} h ahead: ${askedMs.length - 1} requests in an hour`,
    )
    jump(-aheadHours * HOUR_MS)
    t.ok(manager.current(URI), 'set right again, what there is counts again')
    t.equal(manager.list()[0]?.state, 'Available')
    await pass(13 * HOUR_MS)
    t.ok((manager.current(URI)?.notAfterMs ?? 0) > clock.nowMs + 11 * HOUR_MS, 'and it is renewed in time')
    t.ok(ca.issued >= 2)
  }
})

t.test(
  'a clock set back before the certificate began: it is kept and renewed when its time has passed',
  async (t) => {
    for (const backHours of [1, 24, 24 * 365]) {
      const { manager, ca, askedMs, pass, jump } = await setUp(t)
      const first = await manager.get(URI)
      jump(-backHours * HOUR_MS)
      t.equal(manager.current(URI), first, 'peers with a right clock take it')
      askedMs.length = 0
      await pass(12.5 * HOUR_MS)
      t.ok(askedMs.length >= 1, `${backHours} h back: asked ${askedMs.length} times`)
      t.ok(askedMs.length <= 13 * (HOUR_MS / (MAX_BACKOFF_MS * 0.8)), 'no spin')
      jump(backHours * HOUR_MS)
      await pass(MAX_BACKOFF_MS)
      t.not(manager.current(URI), first)
      t.ok(ca.issued >= 2)
    }
  },
)

/** A manager that finds a certificate of an earlier run, and a CA that answers as `ca` says. */
function withSaved(t: Test, hours: number, savedGraceMs = 0, trustBundleId = '') {
  const clock = new ManualClock()
  const certificate = (serialNumber: string, lifetimeMs: number): WorkloadCertificate => ({
    ...{ kind: 'workload-certificate', identity: URI, chainPem: [], rootsPem: [], trustBundleId: '' },
    ...{ privateKeyPem: '', notBeforeMs: clock.nowMs, notAfterMs: clock.nowMs + lifetimeMs, serialNumber },
  })
  const saved = { ...certificate('saved', hours * HOUR_MS), trustBundleId }
  const ca = { answer: 'none' as 'none' | 'failure' | 'certificate' }
  const manager = new SecretManager({
    issuer: {
      issue: async () => {
        if (ca.answer === 'none') return new Promise(() => {})
        if (ca.answer === 'failure') throw new MeshError('CERT_UNAVAILABLE', { retryable: true })
        return []
      },
    },
    requests: {
      begin: async (identity) => ({
        ...{ owner: { identity, privateKeyPem: '', publicKeyInfo: new Uint8Array() }, csrPem: '' },
      }),
      finish: async () => certificate('fresh', 24 * HOUR_MS),
    },
    ...{ clock, random: () => 0, saved: (identity) => (identity === URI ? saved : undefined) },
    savedGraceMs,
  })
  t.teardown(() => manager.close())
  const told: string[] = []
  manager.subscribe(({ serialNumber }) => void told.push(serialNumber))
  return { clock, ca, manager, told }
}

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 12; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}

t.test('a CA that answers is listened to, whatever was saved', async (t) => {
  const { clock, ca, manager, told } = withSaved(t, 1)
  ca.answer = 'certificate'
  t.equal((await manager.get(URI)).serialNumber, 'fresh')
  clock.advance(2000)
  t.same(told, ['fresh'])
})

t.test('a CA that fails: what was saved serves at once; one that is silent: after a second', async (t) => {
  for (const [answer, waitMs] of [
    ['failure', 0],
    ['none', 1000],
  ] as const) {
    const { clock, ca, manager, told } = withSaved(t, 1)
    ca.answer = answer
    const got = manager.get(URI)
    await turns()
    clock.advance(waitMs - 1)
    await turns()
    if (waitMs > 0) t.same(told, [])
    clock.advance(1)
    t.equal((await got).serialNumber, 'saved')
    t.match(manager.list(), [{ state: 'Available' }])
    ca.answer = 'certificate'
    clock.advance(20_000)
    await turns()
    clock.advance(1000)
    await turns()
    t.same(told, ['saved', 'fresh'], 'and goes on being asked')
  }
})

t.test('what another CA has signed is not used once the one that is there has answered', async (t) => {
  const other = 'spiffe://cluster.local/ns/shop/sa/other'
  const { clock, ca, manager, told } = withSaved(t, 1, 0, 'another')
  ca.answer = 'certificate'
  await manager.get(other)
  ca.answer = 'none'
  void manager.get(URI).catch(() => {})
  await turns()
  clock.advance(2000)
  await turns()
  t.same(told, ['fresh'])
})

t.test('what was saved serves to its end and not beyond', async (t) => {
  const { clock, ca, manager } = withSaved(t, 1)
  ca.answer = 'failure'
  t.equal((await manager.get(URI)).serialNumber, 'saved')
  for (let minute = 0; minute < 59; minute++) {
    clock.advance(60_000)
    await turns()
  }
  t.equal(manager.current(URI)?.serialNumber, 'saved')
  clock.advance(60_000)
  await turns()
  t.equal(manager.current(URI), undefined)
  await t.rejects(manager.get(URI), { code: 'CERT_UNAVAILABLE' })

  const late = withSaved(t, 0)
  late.ca.answer = 'failure'
  await t.rejects(late.manager.get(URI), { code: 'CERT_UNAVAILABLE' })
  t.same(late.told, [], 'one that has ended already is nothing')
})

t.test('what has ended serves on in grace, and is asked for again', async (t) => {
  const { ca, manager, told, clock } = withSaved(t, 0, HOUR_MS)
  ca.answer = 'failure'
  await manager.get(URI)
  t.same(told, ['saved'])
  t.match(manager.list(), [{ state: 'Unavailable', renewalFailures: 1 }])
  ca.answer = 'certificate'
  clock.advance(20_000)
  await turns()
  clock.advance(1000)
  await turns()
  t.same(told, ['saved', 'fresh'])
  const late = withSaved(t, -1, HOUR_MS)
  late.ca.answer = 'failure'
  await t.rejects(late.manager.get(URI), { code: 'CERT_UNAVAILABLE' })
})
