// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { CertificateIssuer } from '../../../mesh/identity/ca-client.ts'
import type { WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import { certificateRequests } from '../../../mesh/identity/certificate-requests.ts'
import { dumpIdentity } from '../../../mesh/identity/certificate-view.ts'
import { EmbeddedAuthority } from '../../../mesh/identity/embedded-authority.ts'
import { SecretManager } from '../../../mesh/identity/secret-manager.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const identityOf = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
const URI = identityOf('cart')
const HOUR_MS = 3_600_000

/** A CA whose answers a test holds back, counts and spoils. */
class ScriptedIssuer implements CertificateIssuer {
  readonly asked: string[] = []
  failure: MeshError | null = null
  gate: Promise<void> = Promise.resolve()
  inFlight = 0
  mostInFlight = 0
  readonly #authority: EmbeddedAuthority

  constructor(authority: EmbeddedAuthority) {
    this.#authority = authority
  }

  async issue(identity: string, csrPem: string, ttlSeconds: number): Promise<readonly string[]> {
    this.asked.push(identity)
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight)
    try {
      await this.gate
      if (this.failure !== null) throw this.failure
      return await this.#authority.issue(identity, csrPem, ttlSeconds)
    } finally {
      this.inFlight--
    }
  }
}

async function setUp(t: Test) {
  const clock = new ManualClock()
  const authority = await EmbeddedAuthority.open({
    directory: t.testdir(),
    trustDomain: 'cluster.local',
    clock,
  })
  const issuer = new ScriptedIssuer(authority)
  const manager = new SecretManager({ issuer, requests: certificateRequests, clock, random: () => 0.5 })
  t.teardown(() => manager.close())
  return { clock, issuer, manager }
}

/** Resolves when the condition holds; the work waited for is real cryptography, so turns are counted, not time. */
async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000; turn++) {
    if (condition()) return
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  throw new Error('the condition never held')
}

/** What a request has: while its timer is the next one, a request is under way. */
const REQUEST_DEADLINE_MS = 10_000

/** Moves time until a request is made and no further; how far that was. */
function toNextRequest(clock: ManualClock): number {
  const startMs = clock.nowMs
  while (clock.nextDelayMs !== REQUEST_DEADLINE_MS) clock.advance(clock.nextDelayMs ?? 0)
  return clock.nowMs - startMs
}

t.test('concurrent callers share one request', async (t) => {
  const { issuer, manager } = await setUp(t)
  const certificates = await Promise.all([manager.get(URI), manager.get(URI), manager.get(URI)])
  t.equal(issuer.asked.length, 1)
  t.equal(new Set(certificates).size, 1)
  t.equal(await manager.get(URI), certificates[0], 'and later ones the certificate')
  t.equal(issuer.asked.length, 1)
  t.equal(manager.current(URI), certificates[0])
  t.equal(manager.current(identityOf('other')), undefined)
})

t.test('a certificate is renewed at about half of its life and subscribers are told', async (t) => {
  const { clock, issuer, manager } = await setUp(t)
  const told: WorkloadCertificate[] = []
  const stop = manager.subscribe((certificate) => told.push(certificate))
  const first = await manager.get(URI)
  clock.advance(11 * HOUR_MS)
  t.equal(issuer.asked.length, 1, 'not earlier')
  t.ok(toNextRequest(clock) < HOUR_MS)
  await until(() => told.length === 2)
  t.equal(issuer.asked.length, 2)
  t.not(told[1]?.serialNumber, first.serialNumber)
  t.not(told[1]?.privateKeyPem, first.privateKeyPem, 'a fresh key each time')
  t.equal(await manager.get(URI), told[1], 'hot swap')
  stop()
  toNextRequest(clock)
  await until(() => manager.current(URI) !== told[1])
  t.equal(told.length, 2, 'a stopped listener is not told')
})

t.test('a certificate can be renewed before its time; while that fails it stays', async (t) => {
  const { clock, issuer, manager } = await setUp(t)
  const first = await manager.get(URI)
  manager.renew(identityOf('other'))
  issuer.failure = new MeshError('CERT_UNAVAILABLE', { detail: 'CA is down' })
  manager.renew(URI)
  manager.renew(URI)
  await until(() => manager.list()[0]?.renewalFailures === 1)
  t.same([issuer.asked, manager.current(URI)], [[URI, URI], first], 'one request for both')
  issuer.failure = null
  toNextRequest(clock)
  await until(() => manager.current(URI) !== first)
  manager.renew(URI)
  await until(() => issuer.asked.length === 4 && manager.list()[0]?.reason === '')
  t.same(new Set(issuer.asked), new Set([URI]), 'who is not known is not asked for')
})

t.test('a failed renewal keeps the old certificate until it ends', async (t) => {
  const { clock, issuer, manager } = await setUp(t)
  const first = await manager.get(URI)
  issuer.failure = new MeshError('CERT_UNAVAILABLE', { detail: 'CA is down' })
  toNextRequest(clock)
  await until(() => manager.list()[0]?.reason !== '')
  t.equal(await manager.get(URI), first)
  const failingSinceMs = clock.nowMs
  const failed = { reason: 'CERT_UNAVAILABLE: CA is down', failingSinceMs }
  t.match(manager.list(), [{ state: 'Available', ...failed, renewalFailures: 1 }])
  const delays: number[] = []
  for (let attempt = 0; attempt < 11; attempt++) {
    const asked = issuer.asked.length
    delays.push(toNextRequest(clock))
    await until(() => issuer.asked.length === asked + 1 && clock.nextDelayMs !== REQUEST_DEADLINE_MS)
  }
  t.same(delays, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 150_000, 150_000])
  t.match(manager.list(), [{ ...failed, renewalFailures: 12 }], 'counted, and since when')
  clock.advance(first.notAfterMs - clock.nowMs)
  t.equal(manager.current(URI), undefined)
  await until(() => manager.list()[0]?.state === 'Unavailable' && clock.nextDelayMs !== REQUEST_DEADLINE_MS)
  await t.rejects(manager.get(URI), { code: 'CERT_UNAVAILABLE' }, 'refused at once, not after the retry')
  await until(() => issuer.inFlight === 0)
  issuer.failure = null
  toNextRequest(clock)
  await until(() => manager.current(URI) !== undefined)
  t.match(manager.list(), [{ state: 'Available', reason: '', renewalFailures: 0, failingSinceMs: null }])
})

t.test('at most eight requests are in flight, urgent ones first', async (t) => {
  const { issuer, manager } = await setUp(t)
  let open = (): void => {}
  issuer.gate = new Promise((resolve) => {
    open = resolve
  })
  const early = Array.from({ length: 8 }, (_, index) => manager.get(identityOf(`early${index}`), 'warm-up'))
  const warm = Array.from({ length: 4 }, (_, index) => manager.get(identityOf(`warm${index}`), 'warm-up'))
  const urgent = manager.get(identityOf('urgent'))
  const raised = manager.get(identityOf('warm3'))
  await until(() => issuer.asked.length === 8)
  open()
  await Promise.all([...early, ...warm, urgent, raised])
  t.equal(issuer.mostInFlight, 8)
  const late = issuer.asked.slice(8)
  t.same(late.slice(0, 2).sort(), [identityOf('urgent'), identityOf('warm3')])
  t.equal(issuer.asked.length, 13)
})

t.test('a silent CA is given up at the deadline and its late answer dropped', async (t) => {
  const { clock, issuer, manager } = await setUp(t)
  let open = (): void => {}
  issuer.gate = new Promise((resolve) => {
    open = resolve
  })
  const got = manager.get(URI)
  await until(() => issuer.asked.length === 1)
  clock.advance(10_000)
  await t.rejects(got, { code: 'CERT_UNAVAILABLE' })
  open()
  await until(() => issuer.inFlight === 0)
  t.equal(manager.current(URI), undefined)
  clock.advance(500)
  await until(() => manager.current(URI) !== undefined)
  t.equal(issuer.asked.length, 2)
})

t.test('a forgotten identity is gone, with its renewal and its callers', async (t) => {
  const { clock, issuer, manager } = await setUp(t)
  await manager.get(URI)
  manager.forget(URI)
  t.equal(clock.pendingCount, 0)
  t.same(manager.list(), [])
  const waiting = manager.get(URI)
  manager.forget(URI)
  await t.rejects(waiting, { code: 'CERT_UNAVAILABLE' })
  await until(() => issuer.inFlight === 0)
  t.equal(manager.current(URI), undefined, 'an answer that comes too late is dropped')
  manager.close()
  await t.rejects(manager.get(URI), { code: 'SHUTDOWN' })
})

t.test('an answer for another identity makes the identity Unavailable', async (t) => {
  const { clock, issuer } = await setUp(t)
  const liar: CertificateIssuer = { issue: (_, csr, ttl) => issuer.issue(identityOf('mallory'), csr, ttl) }
  const manager = new SecretManager({ issuer: liar, requests: certificateRequests, clock, random: () => 0 })
  await t.rejects(manager.get(URI), { code: 'IDENTITY_MISMATCH' })
  t.match(manager.list(), [{ identity: URI, state: 'Unavailable', certificate: null }])
  manager.close()
})

t.test('the dump has the shape the ecosystem reads and never a private key', async (t) => {
  const { issuer, manager } = await setUp(t)
  await manager.get(URI)
  issuer.failure = new MeshError('CERT_UNAVAILABLE', { detail: 'down' })
  await t.rejects(manager.get(identityOf('late')))
  const dump = manager.list().map(dumpIdentity)
  t.match(dump[0], { identity: URI, state: 'Available' })
  t.equal(dump[1]?.state, 'Unavailable: CERT_UNAVAILABLE: down')
  t.equal(dump[0]?.certChain.length, 1)
  t.equal(dump[0]?.rootCerts.length, 1)
  t.match(Buffer.from(dump[0]?.certChain[0]?.pem ?? '', 'base64').toString(), /^-----BEGIN CERTIFICATE/)
  t.match(dump[0]?.certChain[0], { serialNumber: /^\d+$/, validFrom: '2025-12-31T23:58:00Z' })
  t.equal(dump[0]?.certChain[0]?.expirationTime, '2026-01-02T00:00:00Z')
  t.notMatch(JSON.stringify(dump), /PRIVATE|UFJJVkFURS/)
})
