// SPDX-License-Identifier: Apache-2.0
// Whom a waypoint takes for the caller; what it does with him is test/netns/waypoint.ts.
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { parseSpiffeId, type SpiffeId } from '../../../mesh/identity/spiffe.ts'
import { believedCaller } from '../../../waypoint/accept/connect.ts'

const CART = 'spiffe://td/ns/shop/sa/cart'
const FRONT = 'spiffe://td/ns/shop/sa/front'
const idOf = (text: string): SpiffeId => {
  const id = parseSpiffeId(text)
  if (isRefusal(id)) throw new Error(text)
  return id
}

t.test('a peer calls for itself', async (t) => {
  t.same(believedCaller(idOf(FRONT), '', [CART]), { kind: 'believed', caller: idOf(FRONT), divertedFor: '' })
})

t.test('who is behind the target may say for whom it calls', async (t) => {
  t.same(believedCaller(idOf(CART), FRONT, [CART]), {
    kind: 'believed',
    caller: idOf(FRONT),
    divertedFor: FRONT,
  })
  t.same(believedCaller(idOf(CART), 'unknown', [CART]), {
    kind: 'believed',
    caller: null,
    divertedFor: 'unknown',
  })
})

t.test('nobody else may, and nobody may say nonsense', async (t) => {
  t.match(believedCaller(idOf(FRONT), CART, [CART]), { code: 'CONNECT_DIVERSION' })
  t.match(believedCaller(idOf(FRONT), 'unknown', []), { code: 'CONNECT_DIVERSION' })
  t.match(believedCaller(idOf(CART), 'spiffe://x', [CART]), { code: 'CONNECT_DIVERSION' })
})
