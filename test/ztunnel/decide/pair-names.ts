// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { findSource, findTarget, type NamedTarget } from '../../../ztunnel/decide/pair-names.ts'
import { workload } from '../../support/mesh.ts'
import { nodeView, shopMesh } from '../../support/node-views.ts'

const HOST = 'cart.shop.svc.cluster.local'
const view = nodeView(
  'n1',
  shopMesh({
    services:
      '- {name: none, namespace: shop, hostname: none.shop.svc.cluster.local, vips: [], ports: {90: 90, 80: 80}}',
    more: `- ${workload('cart', '10.3.0.1', 'namespace: other')}`.replace('uid: cart', 'uid: other-cart'),
  }),
)

t.test('a caller is a pod by name, by full name, or an address', async (t) => {
  const uid = (name: string): string => {
    const found = findSource(view, name)
    return found.kind === 'workload' ? found.workload.uid : found.kind
  }
  for (const [name, expected] of [
    ['front', 'front'],
    ['shop/front', 'front'],
    ['other/front', 'unknown'],
    ['other/cart', 'other-cart'],
    ['cart', 'ambiguous'],
    ['10.2.0.1', 'cart'],
    ['192.0.2.1', ''],
    ['nobody', 'unknown'],
  ] as const)
    t.equal(uid(name), expected, name)
  t.strictSame(findSource(view, 'cart'), { kind: 'ambiguous', names: ['shop/cart', 'other/cart'] })
  t.strictSame(findSource({ ...view, state: null }, 'front'), { kind: 'unknown' })
})

t.test('a destination is what the pod would get for the name', async (t) => {
  const service = (port: number): NamedTarget => ({
    kind: 'service',
    name: HOST,
    ip: '10.96.0.10',
    port,
    isOfMesh: true,
  })
  for (const name of [
    'cart',
    'cart.shop',
    'cart.shop.svc',
    HOST,
    HOST.toUpperCase(),
    `${HOST}.`,
    'shop/cart',
    '10.96.0.10',
  ])
    t.strictSame(findTarget(view, 'shop', name, 80), service(80), name)
  t.strictSame(findTarget(view, 'shop', 'cart', 0), service(80), 'its lowest port, when nobody says one')
  t.match(
    findTarget(view, 'shop', 'none', 0),
    { kind: 'service', ip: '', port: 80, isOfMesh: true },
    'headless, no pods',
  )
  t.match(findTarget(view, 'shop', 'legacy', 1), { kind: 'pod', name: 'shop/legacy', ip: '10.2.0.2' })
  t.match(findTarget(view, 'elsewhere', 'other/cart', 1), { kind: 'pod', name: 'other/cart', ip: '10.3.0.1' })
  t.match(findTarget(view, 'shop', '10.2.0.1', 1), { kind: 'pod', name: 'shop/cart', isOfMesh: true })
  t.match(findTarget(view, 'shop', '192.0.2.1', 1), { kind: 'address', isOfMesh: false })
  for (const name of ['example.com', 'no/such', 'cart.other', '', '/', 'x'.repeat(300)])
    t.strictSame(
      findTarget(view, 'shop', name, 1),
      { kind: 'host', name, ip: '', port: 1, isOfMesh: false },
      name,
    )
})
