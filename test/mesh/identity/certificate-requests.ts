// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, createPublicKey } from 'node:crypto'
import t from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { certificateRequests } from '../../../mesh/identity/certificate-requests.ts'
import { EmbeddedAuthority } from '../../../mesh/identity/embedded-authority.ts'
import { parseCertificateRequest } from '../../../mesh/identity/pki.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const URI = 'spiffe://cluster.local/ns/shop/sa/cart'
const HOUR_SECONDS = 3600

async function openAuthority(directory: string, clock: ManualClock): Promise<EmbeddedAuthority> {
  return EmbeddedAuthority.open({ directory, trustDomain: 'cluster.local', clock })
}

t.test('a request is for the identity, and its key is the one that stays here', async (t) => {
  const { owner, csrPem } = await certificateRequests.begin(URI)
  t.equal(owner.identity, URI)
  const request = await parseCertificateRequest(csrPem)
  t.match(request, { uris: [URI] })
  t.notMatch(csrPem, /PRIVATE/)
  const publicKey = createPublicKey(createPrivateKey(owner.privateKeyPem))
  t.same(publicKey.export({ type: 'spki', format: 'der' }), Buffer.from(owner.publicKeyInfo))
  t.same(structuredClone(owner), owner, 'it may be begun in another thread')
})

t.test('no key is used twice', async (t) => {
  const begun = await Promise.all(Array.from({ length: 3 }, () => certificateRequests.begin(URI)))
  t.equal(new Set(begun.map(({ owner }) => owner.privateKeyPem)).size, 3)
  t.equal(new Set(begun.map(({ csrPem }) => csrPem)).size, 3)
})

t.test('the answer of the CA becomes the certificate of that key', async (t) => {
  const clock = new ManualClock()
  const authority = await openAuthority(t.testdir(), clock)
  const { owner, csrPem } = await certificateRequests.begin(URI)
  const chain = await authority.issue(URI, csrPem, HOUR_SECONDS)
  const certificate = await certificateRequests.finish(owner, chain, clock.nowMs)
  t.match(certificate, {
    ...{ kind: 'workload-certificate', identity: URI, privateKeyPem: owner.privateKeyPem },
    ...{ chainPem: [chain[0]], notAfterMs: clock.nowMs + HOUR_SECONDS * 1000 },
  })
})

t.test('an answer that does not fit is an error with its reason', async (t) => {
  const clock = new ManualClock()
  const authority = await openAuthority(t.testdir(), clock)
  const mine = await certificateRequests.begin(URI)
  const other = await certificateRequests.begin(URI)
  const chain = await authority.issue(URI, mine.csrPem, HOUR_SECONDS)
  const stranger = { ...mine.owner, identity: 'spiffe://cluster.local/ns/shop/sa/front' }
  for (const [owner, answer, nowMs, code] of [
    [other.owner, chain, clock.nowMs, 'CERT_INVALID'],
    [stranger, chain, clock.nowMs, 'IDENTITY_MISMATCH'],
    [mine.owner, chain, clock.nowMs + 2 * HOUR_SECONDS * 1000, 'CERT_EXPIRED'],
    [mine.owner, chain.slice(0, 1), clock.nowMs, 'CERT_INVALID'],
    [mine.owner, [], clock.nowMs, 'CERT_INVALID'],
    [mine.owner, ['hostile', 'text'], clock.nowMs, 'CERT_INVALID'],
    [
      mine.owner,
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', chain[1] ?? ''],
      clock.nowMs,
      'CERT_INVALID',
    ],
  ] as const) {
    const error = await certificateRequests.finish(owner, answer, nowMs).catch((cause: unknown) => cause)
    t.type(error, MeshError)
    t.match(error, { code }, `${code}: ${String(error)}`)
    t.notMatch(String(error), /PRIVATE KEY/)
  }
})
