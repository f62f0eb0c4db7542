// SPDX-License-Identifier: Apache-2.0
// What one worker learns of peers another one knows; tunnels by grace are told, the others remembered.
import { hash } from 'node:crypto'
import t from 'tap'
import { createSeenKeys } from '../../../mesh/identity/seen-keys.ts'
import { GracePeers } from '../../../ztunnel/carry/grace-peers.ts'

t.test('a peer with a valid certificate is known to all workers; one in grace is told', async (t) => {
  const settings = { graceSeconds: 86_400, seenKeys: createSeenKeys() }
  const told: string[] = []
  const [first, second] = [0, 1].map(() => new GracePeers(settings, (identity) => told.push(identity)))
  if (first === undefined || second === undefined) throw new Error('two were made')
  const [cart, front] = ['cart', 'front'].map((name) => hash('sha256', name, 'buffer'))
  if (cart === undefined || front === undefined) throw new Error('two were made')
  first.onPeer(cart, false, ['spiffe://d/ns/shop/sa/cart'])
  t.ok(second.isKnown(cart))
  t.same(told, [])
  second.onPeer(front, true, ['spiffe://d/ns/shop/sa/front'])
  t.notOk(first.isKnown(front), 'grace makes nobody known')
  t.same(told, ['spiffe://d/ns/shop/sa/front'])
})
