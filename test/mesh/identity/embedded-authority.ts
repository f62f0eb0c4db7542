// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { EmbeddedAuthority } from '../../../mesh/identity/embedded-authority.ts'
import {
  createCertificateRequest,
  generateKeyPair,
  isSignedBy,
  parseCertificate,
} from '../../../mesh/identity/pki.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const URI = 'spiffe://cluster.local/ns/shop/sa/cart'
const DAY_MS = 86_400_000
const request = async (uri = URI): Promise<string> => createCertificateRequest(await generateKeyPair(), uri)

t.test('processes that share a directory share one root', async (t) => {
  const directory = join(t.testdir(), 'ca')
  const options = { directory, trustDomain: 'cluster.local', clock: new ManualClock() }
  const authorities = await Promise.all(Array.from({ length: 6 }, () => EmbeddedAuthority.open(options)))
  t.equal(new Set(authorities.map(({ rootPem }) => rootPem)).size, 1)
  t.same(readdirSync(directory), ['root.pem'], 'no temporary file stays')
  t.equal(statSync(join(directory, 'root.pem')).mode & 0o777, 0o600)
  t.equal((await EmbeddedAuthority.open(options)).rootPem, authorities[0]?.rootPem, 'and so does a later one')
})

t.test('a leaf carries the identity asked for, whatever the request says', async (t) => {
  const clock = new ManualClock()
  const authority = await EmbeddedAuthority.open({
    directory: t.testdir(),
    trustDomain: 'cluster.local',
    clock,
  })
  const chain = await authority.issue(URI, await request('spiffe://cluster.local/ns/admin/sa/root'), 3600)
  const leaf = parseCertificate(chain[0] ?? '')
  t.match(leaf, { uris: [URI], isCa: false, notAfterMs: clock.nowMs + 3_600_000 })
  t.equal(chain.length, 2)
  t.ok(await isSignedBy(chain[0] ?? '', chain[1] ?? ''))
  t.equal(chain[1], authority.rootPem)
})

t.test('lifetimes are clamped', async (t) => {
  const clock = new ManualClock()
  const authority = await EmbeddedAuthority.open({
    directory: t.testdir(),
    trustDomain: 'cluster.local',
    clock,
  })
  const lifetimeOf = async (ttlSeconds: number): Promise<number> => {
    const leaf = parseCertificate((await authority.issue(URI, await request(), ttlSeconds))[0] ?? '')
    return isRefusal(leaf) ? -1 : leaf.notAfterMs - clock.nowMs
  }
  t.equal(await lifetimeOf(0), DAY_MS)
  t.equal(await lifetimeOf(-5), DAY_MS)
  t.equal(await lifetimeOf(Number.NaN), DAY_MS)
  t.equal(await lifetimeOf(1e12), 90 * DAY_MS)
  clock.advance(3640 * DAY_MS)
  t.equal(await lifetimeOf(30 * 86_400), 10 * DAY_MS, 'never beyond the root')
})

t.test('other trust domains and bad requests are refused', async (t) => {
  const options = { directory: t.testdir(), trustDomain: 'cluster.local', clock: new ManualClock() }
  const authority = await EmbeddedAuthority.open(options)
  await t.rejects(authority.issue('spiffe://other/ns/a/sa/b', await request(), 1), { code: 'TRUST_DOMAIN' })
  await t.rejects(authority.issue('spiffe:///ns/a/sa/b', await request(), 1), { code: 'CERT_INVALID' })
  await t.rejects(authority.issue(URI, 'no request', 1), { code: 'CERT_INVALID' })
})

t.test('a damaged, foreign-readable or expired root is not used', async (t) => {
  const clock = new ManualClock()
  const directory = t.testdir()
  const options = { directory, trustDomain: 'cluster.local', clock }
  await EmbeddedAuthority.open(options)
  const path = join(directory, 'root.pem')
  chmodSync(path, 0o644)
  await t.rejects(EmbeddedAuthority.open(options), { code: 'CERT_INVALID' })
  chmodSync(path, 0o600)
  clock.advance(3651 * DAY_MS)
  await t.rejects(EmbeddedAuthority.open(options), { code: 'CERT_EXPIRED' })
  writeFileSync(path, 'garbage')
  await t.rejects(EmbeddedAuthority.open(options), { code: 'CERT_INVALID' })
})
