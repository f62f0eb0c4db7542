// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { assembleCertificate, type WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import { dumpIdentity } from '../../../mesh/identity/certificate-view.ts'
import { parseCertificate } from '../../../mesh/identity/pki.ts'
import type { CertificateStatus } from '../../../mesh/identity/secret-manager.ts'
import { TestAuthority } from '../../support/certificates.ts'

const NOW = Date.UTC(2026, 0, 1, 12)
const ID = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const URI = 'spiffe://cluster.local/ns/shop/sa/cart'

async function certificateOf(rootCount: number): Promise<WorkloadCertificate> {
  const authorities = await Promise.all(Array.from({ length: rootCount }, () => TestAuthority.create(NOW)))
  const leaf = await authorities[0]?.sign(ID, { notAfterMs: NOW + 60_999 })
  const facts = parseCertificate(leaf?.certificatePem ?? '')
  if (leaf === undefined || isRefusal(facts)) throw new Error('no leaf')
  const owner = { identity: URI, privateKeyPem: leaf.privateKeyPem, publicKeyInfo: facts.publicKeyInfo }
  const bundle = authorities.map(({ rootPem }) => rootPem).join('')
  const made = assembleCertificate(owner, [leaf.certificatePem, bundle], NOW)
  if (isRefusal(made)) throw new Error(made.detail)
  return made
}

const GOOD: Omit<CertificateStatus, 'certificate'> = {
  identity: URI,
  state: 'Available',
  reason: '',
  renewalFailures: 0,
  failingSinceMs: null,
  renewalDueMs: null,
}

t.test('failures are told with their number, the last reason and since when', async (t) => {
  const certificate = await certificateOf(1)
  const reason = 'CERT_UNAVAILABLE: CA is down'
  const failing = { ...GOOD, certificate, reason, renewalFailures: 3, failingSinceMs: NOW }
  const expected = { renewalFailures: 3, lastFailure: reason, failingSince: '2026-01-01T12:00:00Z' }
  t.match(dumpIdentity(failing), expected)
  t.match(dumpIdentity({ ...GOOD, certificate }), { renewalFailures: 0, lastFailure: '', failingSince: null })
})

t.test('the state is one phrase, with the reason only while there is no certificate', async (t) => {
  const certificate = await certificateOf(1)
  for (const [state, reason, has, expected] of [
    ['Available', '', true, 'Available'],
    ['Available', 'CERT_UNAVAILABLE: CA is down', true, 'Available'],
    ['Initializing', '', false, 'Initializing'],
    ['Unavailable', 'CERT_UNAVAILABLE: CA is down', false, 'Unavailable: CERT_UNAVAILABLE: CA is down'],
  ] as const) {
    const dump = dumpIdentity({ ...GOOD, state, reason, certificate: has ? certificate : null })
    t.match(dump, { identity: URI, state: expected })
    t.equal(dump.certChain.length, has ? 1 : 0)
  }
})

t.test('certificates are shown as openssl and Istio show them, all roots too', async (t) => {
  const certificate = await certificateOf(3)
  const { certChain, rootCerts } = dumpIdentity({ ...GOOD, certificate })
  t.equal(rootCerts.length, 3)
  for (const [shown, pem] of [
    [certChain[0], certificate.chainPem[0]],
    [rootCerts[2], certificate.rootsPem[2]],
  ] as const) {
    t.equal(Buffer.from(shown?.pem ?? '', 'base64').toString(), pem)
    const { serialNumber } = new X509Certificate(pem ?? '')
    t.equal(BigInt(shown?.serialNumber ?? 0).toString(16), BigInt(`0x${serialNumber}`).toString(16))
  }
  t.match(certChain[0], { serialNumber: certificate.serialNumber, validFrom: '2026-01-01T11:58:00Z' })
  t.equal(certChain[0]?.expirationTime, '2026-01-01T12:01:00Z', 'whole seconds')
})

t.test('the private key is in no form part of the dump', async (t) => {
  const certificate = await certificateOf(1)
  const text = JSON.stringify(dumpIdentity({ ...GOOD, certificate }))
  const key = certificate.privateKeyPem.replace(/-----.*-----|\n/g, '')
  t.ok(key.length > 100)
  for (const form of [
    key.slice(20, 80),
    Buffer.from(certificate.privateKeyPem).toString('base64').slice(0, 60),
  ])
    t.notOk(text.includes(form))
})
