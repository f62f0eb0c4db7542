// SPDX-License-Identifier: Apache-2.0
// What stands before a pod. What is made of it, case by case: test/ztunnel/decide/entrance.ts.
import t from 'tap'
import { describeGuard, type WaypointGuard } from '../../../mesh/model/waypoint-guard.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const GUARDED = 'authorizationPolicies: [shop/sidestep_waypoint_only_shop_wp]'
const at = (destination: string): string => `{destination: ${destination}, hboneMtlsPort: 15008}`
const instance = (name: string, ip: string, of: string, more = ''): string =>
  workload(name, ip, `services: {"shop/${of}.shop": {}}${more === '' ? '' : `, ${more}`}`)
const gateway = (name: string, vip: string, more = ''): string =>
  `{name: ${name}, namespace: shop, hostname: ${name}.shop, vips: ["/${vip}"], ports: {15008: 15008}${more}}`
const service = (name: string, more: string): string =>
  `{name: ${name}, namespace: shop, hostname: ${name}.shop, vips: ["/10.9.0.9"], ports: {80: 8080, 81: 9091}${more}}`
const BEHIND_S = 'services: {"shop/s.shop": {80: 9090}}'
const WAYPOINT = `, waypoint: ${at('shop/wp.shop')}`

function guardOf(pod: string, others: readonly string[], services: readonly string[]): WaypointGuard | null {
  const list = (items: readonly string[]): string => items.map((each) => `\n- ${each}`).join('')
  const workloads = list([workload('pod', '10.0.0.1', pod), ...others])
  const mesh = meshOf(
    `workloads:${workloads}\nservices:${services.length === 0 ? ' []' : list(services)}\npolicies: []\n`,
  )
  const own = mesh.workloadByUid('pod')
  if (own === undefined) throw new Error('no pod')
  return describeGuard(mesh, own)
}
const WP = [instance('wp-0', '10.0.1.1', 'wp'), gateway('wp', '10.9.9.1')] as const

t.test('only a pod that the controller says is guarded is', async (t) => {
  const services = [WP[1], service('s', WAYPOINT)]
  t.equal(guardOf(BEHIND_S, [WP[0]], services), null, 'as under Istio’s own controller')
  for (const name of ['shop/sidestep_waypoint_only_shop_wp_undiverted', 'shop/p', 'shop/sidestep_needs_l7_p'])
    t.equal(guardOf(`${BEHIND_S}, authorizationPolicies: [${name}]`, [WP[0]], services), null, name)
  t.not(guardOf(`${BEHIND_S}, ${GUARDED}`, [WP[0]], services), null)
})

t.test('a waypoint is known by all its instances, and reached at those that are well', async (t) => {
  const ill = instance('wp-1', '10.0.1.2', 'wp', 'status: Unhealthy')
  const guard = guardOf(
    `${BEHIND_S}, ${GUARDED}`,
    [WP[0], ill],
    [
      gateway('wp', '10.9.9.1', ', subjectAltNames: ["spiffe://cluster.local/ns/far/sa/wp"]'),
      service('s', WAYPOINT),
    ],
  )
  t.match(guard?.addresses, ['10.0.1.1', '10.0.1.2'])
  t.ok(guard?.identities.includes('spiffe://cluster.local/ns/shop/sa/wp-0-sa'))
  t.ok(guard?.identities.includes('spiffe://cluster.local/ns/far/sa/wp'))
  t.equal(guard?.ways.length, 1)
  const [way] = guard?.ways ?? []
  t.same(way?.ports, [9090, 9091], 'the pod’s own port where it has one')
  t.match(way?.service, { namespace: 'shop', name: 's' })
  t.same(
    way?.waypoints.flatMap(({ candidates }) => candidates.map(({ dial }) => dial)),
    [{ ip: '10.0.1.1', port: 15_008 }],
  )
  t.same(structuredClone(guard), guard, 'it crosses to workers')
})

t.test(
  'the pod’s own waypoint comes first, then services in order; shares of traffic are kept',
  async (t) => {
    const own = `waypoint: ${at('shop/own.shop')}`
    const shares =
      `, weightedWaypoints: [{destination: ${at('shop/wp.shop')}, weight: 90}, ` +
      `{destination: ${at('shop/canary.shop')}, weight: 10}]`
    const guard = guardOf(
      `services: {"shop/z.shop": {}, "shop/s.shop": {}, "shop/free.shop": {}}, ${own}, ${GUARDED}`,
      [WP[0], instance('own-0', '10.0.1.3', 'own'), instance('canary-0', '10.0.1.4', 'canary')],
      [
        ...[WP[1], gateway('own', '10.9.9.2'), gateway('canary', '10.9.9.3')],
        ...[service('z', WAYPOINT), service('s', shares), service('free', '')],
      ],
    )
    t.same(
      guard?.ways.map(({ service: of, waypoints }) => [
        of?.name ?? null,
        ...waypoints.map(({ uid, capacity }) => `${uid} ${capacity}`),
      ]),
      [
        [null, 'shop/own.shop 1'],
        ['s', 'shop/wp.shop 90', 'shop/canary.shop 10'],
        ['z', 'shop/wp.shop 1'],
      ],
    )
    t.equal(guard?.identities.length, 3)
  },
)

t.test('what is not there, or has no pod, is said and not gone round', async (t) => {
  const behind = `${BEHIND_S}, ${GUARDED}`
  const missing = guardOf(behind, [], [service('s', WAYPOINT)])
  t.match(missing?.ways[0]?.waypoints[0]?.refusal, { code: 'WAYPOINT_MISSING' })
  t.same(missing?.identities, [])
  const empty = guardOf(behind, [], [WP[1], service('s', WAYPOINT)])
  t.match(empty?.ways[0]?.waypoints[0]?.refusal, { code: 'WAYPOINT_NOT_READY' })
  t.same(
    guardOf(behind, [], []),
    { identities: [], addresses: [], ways: [] },
    'its service is not known yet: nothing is let in',
  )
})

t.test('a waypoint is not before its own pods', async (t) => {
  const own = `services: {"shop/wp.shop": {}}, waypoint: ${at('shop/wp.shop')}, ${GUARDED}`
  t.equal(guardOf(own, [WP[0]], [WP[1]]), null)
})

t.test('addresses that a waypoint shares with its node are nobody’s', async (t) => {
  const host = instance('wp-0', '192.168.0.1', 'wp', 'networkMode: HostNetwork')
  const guard = guardOf(`${BEHIND_S}, ${GUARDED}`, [host], [WP[1], service('s', WAYPOINT)])
  t.same(guard?.addresses, [])
  t.equal(guard?.identities.length, 1)
})
