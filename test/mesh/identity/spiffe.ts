// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { formatSpiffeId, parseSpiffeId } from '../../../mesh/identity/spiffe.ts'

t.test('a workload id has exactly one spelling', async (t) => {
  const text = 'spiffe://cluster.local/ns/shop/sa/cart-sa'
  const id = parseSpiffeId(text)
  t.same(id, { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart-sa' })
  if (!isRefusal(id)) t.equal(formatSpiffeId(id), text)
})

t.test('every other form is refused', async (t) => {
  const bad = [
    ...['', 'spiffe://', 'SPIFFE://td/ns/a/sa/b', 'https://td/ns/a/sa/b', 'spiffe:///ns/a/sa/b'],
    ...['spiffe://td/ns/a/sa/', 'spiffe://td/ns//sa/b', 'spiffe://td/ns/a/sa/b/', 'spiffe://td/ns/a/sa/b/c'],
    ...[
      'spiffe://td/sa/a/ns/b',
      'spiffe://TD/ns/a/sa/b',
      'spiffe://td:1/ns/a/sa/b',
      'spiffe://td/ns/../sa/b',
    ],
    ...[
      'spiffe://td/ns/a/sa/%62',
      'spiffe://td/ns/a/sa/b?x',
      'spiffe://td/ns/a/sa/b#x',
      'spiffe://td/ns/a/sa/b\n',
    ],
    ...['spiffe://td/ns/a/sa/ü', ' spiffe://td/ns/a/sa/b', `spiffe://td/ns/a/sa/${'b'.repeat(3000)}`],
  ]
  for (const text of bad)
    t.match(parseSpiffeId(text), { kind: 'refusal', code: 'CERT_INVALID' }, text.slice(0, 50))
})
