// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import { chmodSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openDirectoryKeyStore } from '../../../controller/ca/key-store.ts'
import { RootAuthority } from '../../../controller/ca/root-authority.ts'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { assembleCertificate } from '../../../mesh/identity/certificate.ts'
import { parseCertificate } from '../../../mesh/identity/pki.ts'
import { CART, memoryKeyStore, planFor, TRUST_DOMAIN } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const DAY_MS = 86_400_000

t.test('replicas that start together share one root, and so does a later one', async (t) => {
  const directory = join(t.testdir(), 'ca')
  const clock = new ManualClock()
  const open = (): Promise<RootAuthority> =>
    RootAuthority.open({ store: openDirectoryKeyStore(directory), trustDomain: TRUST_DOMAIN, clock })
  const authorities = await Promise.all(Array.from({ length: 6 }, open))
  const roots = await Promise.all([...authorities, await open()].map((authority) => authority.rootsPem()))
  t.equal(new Set(roots).size, 1)
  t.equal(readdirSync(directory).length, 1)
})

t.test('a leaf is what nodes expect, also in the eyes of OpenSSL', async (t) => {
  const clock = new ManualClock(Date.now())
  const authority = await RootAuthority.open({ store: memoryKeyStore(), trustDomain: TRUST_DOMAIN, clock })
  const plan = await planFor(CART, clock.nowMs)
  const chain = await authority.sign(plan)
  const assembled = assembleCertificate(plan, chain, clock.nowMs)
  t.match(assembled, { kind: 'workload-certificate', identity: CART })
  t.equal(chain.length, 2)
  const [leaf, root] = chain.map((pem) => new X509Certificate(pem))
  t.ok(leaf !== undefined && root !== undefined && leaf.verify(root.publicKey) && leaf.checkIssued(root))
  t.equal(leaf?.ca, false)
  t.equal(leaf?.subjectAltName, `URI:${CART}`)
  t.equal(leaf?.validFromDate.getTime(), Math.floor((clock.nowMs - 120_000) / 1000) * 1000)
  t.same(leaf?.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
})

t.test('a leaf never outlives its signer, and an expired signer signs nothing', async (t) => {
  const clock = new ManualClock()
  const authority = await RootAuthority.open({ store: memoryKeyStore(), trustDomain: TRUST_DOMAIN, clock })
  clock.advance(3645 * DAY_MS)
  const [leafPem = ''] = await authority.sign(await planFor(CART, clock.nowMs, 90 * DAY_MS))
  const leaf = parseCertificate(leafPem)
  t.equal(isRefusal(leaf) ? 0 : leaf.notAfterMs, clock.nowMs + 5 * DAY_MS)
  clock.advance(5 * DAY_MS)
  await t.rejects(authority.sign(await planFor(CART, clock.nowMs)), { code: 'CERT_EXPIRED' })
})

t.test('a clock that steps back before the root signs nothing', async (t) => {
  const store = memoryKeyStore()
  const clock = new ManualClock()
  await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  const earlier = new ManualClock(clock.nowMs - DAY_MS)
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock: earlier })
  await t.rejects(authority.sign(await planFor(CART, earlier.nowMs)), { code: 'CERT_NOT_YET_VALID' })
})

t.test('the end of leaves is written before they exist, and not for every leaf', async (t) => {
  const store = memoryKeyStore()
  const clock = new ManualClock()
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  let writes = 0
  const write = store.write
  store.write = async (...change) => {
    writes++
    return await write(...change)
  }
  const horizon = (): number => JSON.parse(store.texts.get('authority') ?? '').old.leavesUntilMs
  for (let hour = 0; hour < 48; hour++) {
    const [leafPem = ''] = await authority.sign(await planFor(CART, clock.nowMs))
    const leaf = parseCertificate(leafPem)
    t.ok(!isRefusal(leaf) && leaf.notAfterMs <= horizon())
    clock.advance(3_600_000)
  }
  t.ok(writes <= 9, `${writes} writes in two days`)
})

t.test('a node that asks for all of its pods at once costs one read and one write', async (t) => {
  const store = memoryKeyStore()
  const clock = new ManualClock()
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  const plan = await planFor(CART, clock.nowMs)
  const calls = { read: 0, write: 0 }
  const { read, write } = store
  store.read = async (...name) => {
    calls.read++
    return await read(...name)
  }
  store.write = async (...change) => {
    calls.write++
    return await write(...change)
  }
  clock.advance(6_000)
  const chains = await Promise.all(Array.from({ length: 100 }, () => authority.sign(plan)))
  t.ok(chains.every((chain) => chain.length === 2))
  t.equal(new Set(chains.map(([leaf]) => leaf)).size, 100)
  t.same(calls, { read: 2, write: 1 }, 'the second read is of what was written')
})

t.test('a short outage of the store stops nobody, a long one stops signatures', async (t) => {
  const store = memoryKeyStore()
  const clock = new ManualClock()
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  await authority.sign(await planFor(CART, clock.nowMs))
  store.isDown = true
  clock.advance(30_000)
  t.equal((await authority.sign(await planFor(CART, clock.nowMs))).length, 2)
  clock.advance(40_000)
  await t.rejects(authority.sign(await planFor(CART, clock.nowMs)), /the store is down/)
  store.isDown = false
  t.equal((await authority.sign(await planFor(CART, clock.nowMs))).length, 2)
})

t.test('a damaged, foreign or readable key is not used', async (t) => {
  const directory = t.testdir()
  const clock = new ManualClock()
  const options = { store: openDirectoryKeyStore(directory), trustDomain: TRUST_DOMAIN, clock }
  await RootAuthority.open(options)
  const file = join(directory, 'authority.1')
  const stored = (await options.store.read('authority'))?.text ?? ''
  chmodSync(file, 0o644)
  await t.rejects(RootAuthority.open(options), { code: 'CA_KEY' })
  chmodSync(file, 0o600)
  const other = memoryKeyStore()
  await RootAuthority.open({ ...options, store: other })
  const [state, foreign] = [JSON.parse(stored), JSON.parse(other.texts.get('authority') ?? '')]
  const damaged: Record<string, string> = {
    empty: '',
    'no JSON': '{',
    'no object': 'null',
    'of another format': JSON.stringify({ ...state, format: 2 }),
    'half a rotation': JSON.stringify({ ...state, phase: 'switched', sinceMs: 1 }),
    'unknown phase': JSON.stringify({ ...state, phase: 'x', next: state.old, sinceMs: 1 }),
    'another key': JSON.stringify({
      ...state,
      old: { ...state.old, privateKeyPem: foreign.old.privateKeyPem },
    }),
    'no key': JSON.stringify({ ...state, old: { ...state.old, privateKeyPem: 'x' } }),
    'no certificate': JSON.stringify({ ...state, old: { ...state.old, certificatePem: 'x' } }),
  }
  for (const [what, text] of Object.entries(damaged)) {
    writeFileSync(file, text)
    await t.rejects(RootAuthority.open(options), { code: 'CA_KEY' }, what)
  }
})

t.test('a leaf in the place of the root is no CA', async (t) => {
  const store = memoryKeyStore()
  const clock = new ManualClock()
  const authority = await RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock })
  const plan = await planFor(CART, clock.nowMs)
  const [leaf = ''] = await authority.sign(plan)
  const state = JSON.parse(store.texts.get('authority') ?? '')
  const old = { ...state.old, certificatePem: leaf, privateKeyPem: plan.privateKeyPem }
  store.texts.set('authority', JSON.stringify({ ...state, old }))
  await t.rejects(RootAuthority.open({ store, trustDomain: TRUST_DOMAIN, clock }), { code: 'CA_KEY' })
})
