// SPDX-License-Identifier: Apache-2.0
// Both ends' facts of a pair; what is made of them is tried in test/cli/why.
import t from 'tap'
import { inboundFacts } from '../../../ztunnel/decide/inbound-facts.ts'
import { outboundFacts } from '../../../ztunnel/decide/outbound-facts.ts'
import { workload } from '../../support/mesh.ts'
import { NOW_MS, nodeView, recordLine, shopMesh } from '../../support/node-views.ts'

const CART = 'spiffe://cluster.local/ns/shop/sa/cart-sa'
const FRONT = 'spiffe://cluster.local/ns/shop/sa/front-sa'

t.test('the node of the caller says who calls, what is meant and where it goes', async (t) => {
  const facts = outboundFacts(nodeView('n1', shopMesh()), { source: 'front', destination: 'cart', port: 80 })
  t.match(facts, {
    health: {
      node: 'n1',
      nowMs: NOW_MS,
      hasModel: true,
      isConnected: true,
      source: 'controller',
      controller: 'c:15012',
    },
    source: { name: 'shop/front', identity: FRONT, ips: ['10.1.0.1'], protocol: 'HBONE', node: 'n1' },
    ...{ isServed: true, refusal: null, mendedMs: null, certificate: null },
    ways: [
      {
        ...{ kind: 'hbone', isWaypoint: false, dial: '10.2.0.1:15008', ip: '10.2.0.1', port: 8080 },
        destination: { name: 'shop/cart', identity: CART, node: 'n2', uid: 'cart' },
      },
    ],
  })
  t.equal(facts.ways.length, 1)
})

t.test('a caller that is not enrolled goes plainly to where the tunnel would have led', async (t) => {
  const view = nodeView('n2', shopMesh())
  for (const source of ['legacy', '192.0.2.1']) {
    const { ways, isServed } = outboundFacts(view, { source, destination: '10.2.0.1', port: 8080 })
    t.equal(isServed, false)
    t.match(ways, [{ kind: 'plain', dial: '10.2.0.1:8080', text: /the caller is not enrolled/ }])
  }
})

t.test('of a service with many endpoints eight are looked at', async (t) => {
  const more = Array.from(
    { length: 20 },
    (_, index) =>
      `- ${workload(`c${index}`, `10.4.0.${index + 1}`, 'node: n2, services: {shop/cart.shop.svc.cluster.local: {80: 8080}}')}`,
  )
  const { ways } = outboundFacts(nodeView('n1', shopMesh({ more: more.join('\n') })), {
    ...{ source: 'front', destination: 'cart', port: 80 },
  })
  t.equal(ways.length, 8)
  t.equal(new Set(ways.map(({ dial }) => dial)).size, 8)
})

t.test('without a configuration nothing is made up', async (t) => {
  const { source, ways, health } = outboundFacts(nodeView('n1', shopMesh(), { state: null }), {
    ...{ source: 'front', destination: 'cart', port: 80 },
  })
  t.strictSame({ source, ways, hasModel: health.hasModel }, { source: null, ways: [], hasModel: false })
})

t.test('the node of the destination asks its own policies, and knows its own attempts', async (t) => {
  const policies =
    '- {name: no-front, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
    'rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/front-sa]}]]]}'
  const records = [
    recordLine({
      direction: 'inbound',
      reason: 'CERT_REVOKED',
      'src.identity': FRONT,
      'dst.addr': '10.2.0.1:15008',
    }),
  ]
  const view = nodeView('n2', shopMesh({ policies }), { records, mendedMs: { 'u-cart': 5 } })
  const asked = { uid: 'cart', ip: '10.2.0.1', port: 8080, sourceIps: ['10.1.0.1'] }
  t.match(inboundFacts(view, { ...asked, identity: FRONT }), {
    ...{ isServed: true, mendedMs: 5, certificate: null },
    policies: { code: 'POLICY_DENY', policy: 'shop/no-front', fix: /shop\/no-front/ },
    attempts: { failed: { code: 'CERT_REVOKED' }, failedCount: 1 },
  })
  t.match(
    inboundFacts(view, { ...asked, identity: '' }),
    { policies: { code: 'OK' } },
    'in plain text it is nobody',
  )
  t.match(inboundFacts(view, { ...asked, uid: 'none', identity: FRONT }), {
    destination: null,
    policies: null,
  })
  const own = view.pods.map((pod) => ({ ...pod, onlyPort: asked.port + 1 }))
  t.match(
    inboundFacts({ ...view, pods: own }, { ...asked, identity: FRONT }),
    { policies: { code: 'CONNECT_OWN_PORT' }, detour: null },
    'of the ztunnel itself nothing but its status port',
  )
  t.match(inboundFacts({ ...view, pods: [] }, { ...asked, identity: FRONT }), {
    isServed: false,
    mendedMs: null,
  })
})
