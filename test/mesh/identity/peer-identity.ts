// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal, type Refusal } from '../../../mesh/errors/refusal.ts'
import { checkTrustDomain, firstSpiffeId } from '../../../mesh/identity/peer-identity.ts'
import { parseSpiffeId, type SpiffeId } from '../../../mesh/identity/spiffe.ts'

const OWN = 'spiffe://cluster.local/ns/shop/sa/cart'

function idOf(text: string): SpiffeId {
  const id = parseSpiffeId(text)
  if (isRefusal(id)) throw new Error(text)
  return id
}
const codeOf = (result: Refusal | null): string | null => result?.code ?? null

t.test('a peer is the first SPIFFE id among its names', async (t) => {
  t.same(firstSpiffeId(['https://x', 'spiffe://b/ns/n/sa/s', OWN]), idOf('spiffe://b/ns/n/sa/s'))
  t.equal(firstSpiffeId(['https://x']), null)
  t.equal(firstSpiffeId([]), null)
})

t.test('one name of a peer must be of our trust domain', async (t) => {
  const own = idOf(OWN)
  t.equal(codeOf(checkTrustDomain(own, ['spiffe://cluster.local/ns/a/sa/b'])), null)
  t.equal(
    codeOf(checkTrustDomain(own, ['spiffe://other/ns/a/sa/b', 'spiffe://cluster.local/ns/a/sa/b'])),
    null,
  )
  t.equal(codeOf(checkTrustDomain(own, ['spiffe://other/ns/a/sa/b'])), 'TRUST_DOMAIN')
  t.equal(codeOf(checkTrustDomain(null, ['spiffe://cluster.local/ns/a/sa/b'])), 'TRUST_DOMAIN')
  t.equal(codeOf(checkTrustDomain(own, ['https://cluster.local'])), 'CERT_INVALID')
})
