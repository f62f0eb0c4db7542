// SPDX-License-Identifier: Apache-2.0
// The promise of a rotation is tried with real handshakes: whatever was signed in whatever phase, by whichever replica,
// while both certificates are valid their owners meet. Leaves live seconds here, so that all of a rotation lies within
// what OpenSSL's clock takes for now.
import { once } from 'node:events'
import { connect, createServer, type TLSSocket } from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import {
  type AuthorityState,
  advanceRotation,
  beginRotation,
  cancelRotation,
  formatAuthorityState,
  parseAuthorityState,
  type RootRecord,
  rotationStatus,
  withLeavesUntil,
} from '../../../controller/ca/rotation.ts'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { assembleCertificate, type WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import { parseCertificate, splitCertificates } from '../../../mesh/identity/pki.ts'
import { CART, memoryKeyStore, planFor, TRUST_DOMAIN } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const LIFETIME_MS = 8_000
const SETTLE_MS = 1_000
const root = (name: string, leavesUntilMs = 0): RootRecord => ({
  certificatePem: name,
  privateKeyPem: `key of ${name}`,
  leavesUntilMs,
})
const patient = { hasEveryNode: false, settleMs: 10 }

t.test('the phases follow each other when their leaves are over, and not before', async (t) => {
  const steady: AuthorityState = { phase: 'steady', old: root('a', 1000) }
  t.match(advanceRotation(steady, 9999, patient), { code: 'ROTATION_NOT_READY' })
  const distributing = beginRotation(steady, root('b'), 500)
  if (isRefusal(distributing)) throw new Error(distributing.detail)
  t.match(beginRotation(distributing, root('c'), 500), { code: 'ROTATION_NOT_READY' })
  const later = withLeavesUntil(distributing, 5000)
  t.match(later, { waitUntilMs: 1000, old: { leavesUntilMs: 5000 } }, 'leaves with both roots need no wait')
  t.match(advanceRotation(later, 1009, patient), { code: 'ROTATION_NOT_READY' })
  const switched = advanceRotation(later, 1010, patient)
  if (isRefusal(switched)) throw new Error(switched.detail)
  t.match(switched, { phase: 'switched', sinceMs: 1010 })
  t.match(withLeavesUntil(switched, 7000), { old: { leavesUntilMs: 5000 }, next: { leavesUntilMs: 7000 } })
  t.match(advanceRotation(switched, 5009, { hasEveryNode: true, settleMs: 10 }), {
    code: 'ROTATION_NOT_READY',
  })
  t.same(rotationStatus(switched, 10), { phase: 'switched', sinceMs: 1010, safeFromMs: 5010 })
  t.same(advanceRotation(switched, 5010, patient), { phase: 'steady', old: root('b') })
  t.match(cancelRotation(switched), { code: 'ROTATION_NOT_READY' })
  t.same(cancelRotation(distributing), steady)
})

t.test("nodes' word shortens the first wait only, and only when every replica knows", async (t) => {
  const begun = beginRotation({ phase: 'steady', old: root('a', 100_000) }, root('b'), 500)
  if (isRefusal(begun)) throw new Error(begun.detail)
  const acknowledged = { hasEveryNode: true, settleMs: 50 }
  t.match(advanceRotation(begun, 549, acknowledged), { code: 'ROTATION_NOT_READY' })
  t.match(advanceRotation(begun, 550, acknowledged), { phase: 'switched' })
})

t.test('a state survives the store', async (t) => {
  const begun = beginRotation({ phase: 'steady', old: root('a', 100) }, root('b'), 5)
  if (isRefusal(begun)) throw new Error(begun.detail)
  const switched = advanceRotation(begun, 200, patient)
  for (const state of [{ phase: 'steady' as const, old: root('a', 3) }, begun, switched])
    t.same(parseAuthorityState(formatAuthorityState(state as AuthorityState)), state) // as: none is a refusal
})

/** Two replicas over one store, one of which is slow to learn, and the leaves they signed. */
async function rehearse(
  steps: readonly (readonly [string, number])[],
): Promise<{ met: number; phases: Set<string> }> {
  const clock = new ManualClock(Date.now() - 1_000)
  const store = memoryKeyStore()
  const options = { store, trustDomain: TRUST_DOMAIN, clock, settleMs: SETTLE_MS }
  const replicas = [await RootAuthority.open(options), await RootAuthority.open(options)] as const
  const leaves: WorkloadCertificate[] = []
  const phases = new Set<string>()
  let met = 0
  const endMs = clock.nowMs + 100_000 // later is the future for OpenSSL: leaves begin two minutes back
  for (const [what, value] of steps) {
    if (clock.nowMs >= endMs) break
    const [first, second] = replicas
    if (what === 'wait') clock.advance(value)
    if (what === 'begin') await first.beginRotation().catch(() => {})
    if (what === 'advance') await first.advanceRotation(false).catch(() => {})
    if (what === 'sign') {
      const plan = await planFor(CART, clock.nowMs, LIFETIME_MS)
      const leaf = assembleCertificate(plan, await (value % 2 === 0 ? first : second).sign(plan), clock.nowMs)
      if (isRefusal(leaf)) throw new Error(leaf.detail)
      phases.add(`${(await first.rotation()).phase} ${leaf.rootsPem.length}`)
      const alive = leaves.filter((other) => clock.nowMs < other.notAfterMs)
      for (const other of [leaf, ...alive.filter((_, index) => index % 4 === 0)]) {
        await meet(leaf, other)
        await meet(other, leaf)
        met += 2
      }
      leaves.push(leaf)
    }
  }
  return { met, phases }
}

/** A mutual handshake. @throws when either side refuses the other */
async function meet(client: WorkloadCertificate, server: WorkloadCertificate): Promise<void> {
  const accepting = createServer({
    ...secretsOf(server),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  })
  accepting.listen(0, '127.0.0.1')
  await once(accepting, 'listening')
  const address = accepting.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const accepted = once(accepting, 'secureConnection')
  const refused = once(accepting, 'tlsClientError').then(([error]) => Promise.reject(error))
  const socket = connect({
    ...secretsOf(client),
    port,
    host: '127.0.0.1',
    checkServerIdentity: () => undefined, // the name is a URI, which the mesh checks itself
  })
  try {
    await Promise.race([Promise.all([once(socket, 'secureConnect'), accepted]), refused])
  } finally {
    refused.catch(() => {})
    const [serverSide] = (await Promise.race([accepted, Promise.resolve([])])) as [TLSSocket?] // as: what it emits
    socket.destroy()
    serverSide?.destroy()
    accepting.close()
  }
}

const secretsOf = ({ chainPem, privateKeyPem, rootsPem }: WorkloadCertificate) => ({
  cert: chainPem.join(''),
  key: privateKeyPem,
  ca: [...rootsPem],
})

t.test('an operator who takes every step as soon as it is allowed breaks nothing', async (t) => {
  const greedily: [string, number][] = []
  for (let round = 0; round < 32; round++) {
    greedily.push(['advance', 0], ['sign', 0], ['begin', 0], ['sign', 1], ['wait', 1_300])
  }
  const { met, phases } = await rehearse(greedily)
  t.ok(met > 100, `${met} handshakes`)
  for (const phase of ['steady 1', 'distribute 2', 'switched 2']) t.ok(phases.has(phase), phase)
})

t.test('whatever the order of steps, replicas and pauses, no handshake fails', async (t) => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(fc.constant('sign'), fc.nat(1)) },
    { weight: 3, arbitrary: fc.tuple(fc.constant('wait'), fc.constantFrom(300, 1_000, 4_000, 6_000)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('advance'), fc.constant(0)) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('begin'), fc.constant(0)) },
  )
  let met = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      met += (await rehearse(steps)).met
    }),
    { numRuns: 8, seed: 20 },
  )
  t.ok(met > 100, `${met} handshakes`)
})

t.test('a rotation that is given up leaves the old root alone', async (t) => {
  const clock = new ManualClock()
  const store = memoryKeyStore()
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  const before = await authority.rootsPem()
  await authority.beginRotation()
  t.equal(splitCertificates(await authority.rootsPem()).length, 2)
  t.equal((await authority.signers()).length, 2)
  await authority.cancelRotation()
  t.equal(await authority.rootsPem(), before)
  const leaf = parseCertificate((await authority.sign(await planFor(CART, clock.nowMs)))[0] ?? '')
  t.ok(!isRefusal(leaf))
})
