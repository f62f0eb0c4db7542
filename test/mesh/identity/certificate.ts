// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { assembleCertificate } from '../../../mesh/identity/certificate.ts'
import { parseCertificate } from '../../../mesh/identity/pki.ts'
import { type BadCertificate, TestAuthority, type TestCertificate } from '../../support/certificates.ts'

const NOW = Date.UTC(2026, 5, 1)
const ID = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const URI = 'spiffe://cluster.local/ns/shop/sa/cart'

function ownerOf({ certificatePem, privateKeyPem }: TestCertificate) {
  const facts = parseCertificate(certificatePem)
  if (isRefusal(facts)) throw new Error(facts.detail)
  return { identity: URI, privateKeyPem, publicKeyInfo: facts.publicKeyInfo }
}

t.test("a CA's answer becomes leaf, intermediates and roots", async (t) => {
  const authority = await TestAuthority.create(NOW)
  const other = await TestAuthority.create(NOW)
  const leaf = await authority.sign(ID)
  const bundle = authority.rootPem + other.rootPem + authority.rootPem
  const chain = [leaf.certificatePem + other.rootPem, other.rootPem, bundle]
  const made = assembleCertificate(ownerOf(leaf), chain, NOW)
  if (isRefusal(made)) throw new Error(made.detail)
  t.same(made.chainPem, [leaf.certificatePem, other.rootPem], 'one certificate per element')
  t.same([...made.rootsPem], [authority.rootPem, other.rootPem].sort())
  t.match(made, { identity: URI, notBeforeMs: NOW - 120_000, notAfterMs: NOW + 86_400_000 })
  t.same(structuredClone(made), made)
})

t.test('an answer that does not fit is refused with its reason', async (t) => {
  const authority = await TestAuthority.create(NOW)
  const leaf = await authority.sign(ID)
  const expected: Record<BadCertificate, string> = {
    expired: 'CERT_EXPIRED',
    'not-yet-valid': 'CERT_NOT_YET_VALID',
    'ca-as-leaf': 'CERT_INVALID',
    'no-spiffe-id': 'IDENTITY_MISMATCH',
    'other-trust-domain': 'IDENTITY_MISMATCH',
  }
  for (const kind of [
    'expired',
    'not-yet-valid',
    'ca-as-leaf',
    'no-spiffe-id',
    'other-trust-domain',
  ] as const) {
    const bad = await authority.signBad(kind, ID)
    const made = assembleCertificate(ownerOf(bad), [bad.certificatePem, authority.rootPem], NOW)
    t.match(made, { kind: 'refusal', code: expected[kind] }, kind)
  }
  const foreignKey = ownerOf(await authority.sign(ID))
  const chain = [leaf.certificatePem, authority.rootPem]
  t.match(assembleCertificate(foreignKey, chain, NOW), { kind: 'refusal', code: 'CERT_INVALID' }, 'other key')
  for (const short of [[], [leaf.certificatePem], [leaf.certificatePem, ''], ['', authority.rootPem]]) {
    t.match(assembleCertificate(ownerOf(leaf), short, NOW), { kind: 'refusal', code: 'CERT_INVALID' })
  }
  const long = Array.from({ length: 20 }, () => leaf.certificatePem)
  t.match(assembleCertificate(ownerOf(leaf), long, NOW), { kind: 'refusal', code: 'CERT_INVALID' })
})
