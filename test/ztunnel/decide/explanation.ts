// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { MeshState } from '../../../mesh/model/mesh-state.ts'
import { explainConnection } from '../../../ztunnel/decide/explanation.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const MESH = `
workloads:
- ${workload('front', '10.1.0.1')}
- ${workload('batch', '10.1.0.2')}
- ${workload('cart', '10.2.0.1', 'services: {shop/cart.shop.svc.cluster.local: {80: 8080}}')}
- ${workload('legacy', '10.2.0.2', 'protocol: TCP')}
services:
- {name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: ["/10.96.0.10"], ports: {80: 8080}}
- {name: empty, namespace: shop, hostname: empty.shop.svc.cluster.local, vips: ["/10.96.0.11"], ports: {80: 8080}}
policies:
- name: no-batch
  namespace: shop
  scope: Namespace
  action: Deny
  dryRun: false
  rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/batch-sa]}]]]
`

function ask(state: MeshState, name: string, ip: string, port: number) {
  const source = state.ownWorkload('shop', name, `${name}-sa`)
  if (source === undefined) throw new Error(`no ${name}`)
  return explainConnection(state, { source, ip, port, network: '', isSocks5Enabled: true })
}

t.test('both sides of a connection are explained by the functions that decide', async (t) => {
  const state = meshOf(MESH)
  const good = ask(state, 'front', '10.96.0.10', 80)
  t.equal(good.source, 'spiffe://cluster.local/ns/shop/sa/front-sa')
  t.match(good.outbound, { code: 'OK', fix: '' })
  t.match(
    good.outbound.reason,
    /10\.2\.0\.1:15008.*spiffe:\/\/cluster\.local\/ns\/shop\/sa\/cart-sa.*10\.2\.0\.1:8080/,
  )
  t.match(good.inbound, { code: 'OK', policy: '', fix: '' })

  const denied = ask(state, 'batch', '10.96.0.10', 80)
  t.equal(denied.outbound.code, 'OK', 'the source does not know')
  t.match(denied.inbound, { code: 'POLICY_DENY', policy: 'shop/no-batch' })
  t.match(denied.inbound?.fix, /shop\/no-batch/)
})

t.test('behind the gateway of another network its own node decides', async (t) => {
  const far = MESH.replace(
    workload('cart', '10.2.0.1', 'services: {shop/cart.shop.svc.cluster.local: {80: 8080}}'),
    workload(
      'cart',
      '10.2.0.1',
      'network: far, networkGateway: {destination: /10.1.0.2, hboneMtlsPort: 15008}, ' +
        'services: {shop/cart.shop.svc.cluster.local: {80: 8080}}',
    ),
  ).replace('ports: {80: 8080}}', 'ports: {80: 8080}, subjectAltNames: ["spiffe://x/ns/shop/sa/cart"]}')
  const { outbound, inbound } = ask(meshOf(far), 'batch', '10.96.0.10', 80)
  t.match(
    outbound.reason,
    /through the gateway of another network, shop\/batch, at 10\.1\.0\.2:15008 .* as cart\.shop\.svc/,
  )
  t.equal(inbound, null)
})

t.test('a policy made by the controller is named as its user named it', async (t) => {
  const mesh = (name: string): MeshState => meshOf(MESH.replace('name: no-batch', `name: ${name}`))
  const l7 = ask(mesh('sidestep_needs_l7_by-header_80'), 'batch', '10.96.0.10', 80).inbound
  t.match(l7, { code: 'POLICY_NEEDS_L7', policy: 'shop/by-header' })
  t.match(l7?.fix, /shop\/by-header/)
  const guard = ask(mesh('sidestep_waypoint_only_shop_gate'), 'batch', '10.96.0.10', 80).inbound
  t.match(guard, { code: 'WAYPOINT_BYPASS', policy: 'shop/sidestep_waypoint_only_shop_gate' })
  t.match(guard?.fix, /shop\/gate/)
})

t.test('what would go round a waypoint is told where it goes instead', async (t) => {
  const guarded = MESH.replace(
    'services: {shop/cart.shop.svc.cluster.local: {80: 8080}}',
    'services: {shop/cart.shop.svc.cluster.local: {80: 8080}}, ' +
      'authorizationPolicies: [shop/sidestep_waypoint_only_shop_wp]',
  ).replace(
    'ports: {80: 8080}}',
    'ports: {80: 8080}, waypoint: {destination: shop/gone, hboneMtlsPort: 15008}}',
  )
  t.match(ask(meshOf(guarded), 'front', '10.2.0.1', 8080).inbound, {
    code: 'WAYPOINT_MISSING',
    reason: 'shop/gone',
  })
  t.match(
    ask(meshOf(guarded), 'batch', '10.2.0.1', 8080).inbound,
    { code: 'POLICY_DENY' },
    'policies come first',
  )
})

t.test('what the source refuses never reaches the destination', async (t) => {
  const { outbound, inbound } = ask(meshOf(MESH), 'front', '10.96.0.11', 80)
  t.equal(outbound.code, 'NO_ENDPOINT')
  t.not(outbound.fix, '')
  t.equal(inbound, null)
})

t.test('plain destinations: a workload is judged without identity, a stranger by nobody', async (t) => {
  const state = meshOf(MESH)
  const plain = ask(state, 'batch', '10.2.0.2', 9000)
  t.match(plain.outbound.reason, /10\.2\.0\.2:9000 in plain text/)
  t.match(plain.inbound, { code: 'OK' })
  const stranger = ask(state, 'front', '192.0.2.1', 443)
  t.match(stranger.outbound, { code: 'OK' })
  t.equal(stranger.inbound, null)
})

t.test('a connection to a port of the mesh itself is a loop', async (t) => {
  t.equal(ask(meshOf(MESH), 'front', '127.0.0.1', 15_001).outbound.code, 'LOOP')
})
