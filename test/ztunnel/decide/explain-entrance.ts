// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { describeGuard } from '../../../mesh/model/waypoint-guard.ts'
import { explainEntrance } from '../../../ztunnel/decide/explain-entrance.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const at = (name: string): string => `waypoint: {destination: shop/${name}.shop, hboneMtlsPort: 15008}`
const ARRIVAL = { identity: null, sourceIp: '10.0.0.7', ip: '10.0.0.1', port: 8080, isDiverted: false }

function explain(pod: string, service: string, arrival = ARRIVAL) {
  const mesh = meshOf(`
workloads:
- ${workload('pod', '10.0.0.1', `services: {"shop/s.shop": {}}, ${pod}`)}
- ${workload('wp-0', '10.0.1.1', 'services: {"shop/wp.shop": {}}')}
services:
- {name: wp, namespace: shop, hostname: wp.shop, vips: ["/10.9.9.1"], ports: {15008: 15008}}
- {name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 8080}${service}}
policies: []
`)
  const own = mesh.workloadByUid('pod')
  if (own === undefined) throw new Error('no pod')
  return explainEntrance(describeGuard(mesh, own), arrival)
}
const GUARDED = 'authorizationPolicies: [shop/sidestep_waypoint_only_shop_wp]'

t.test('where it is diverted to, and whose waypoint that is', async (t) => {
  t.equal(explain('', `, ${at('wp')}`), null, 'nothing is before the pod')
  t.match(explain(GUARDED, `, ${at('wp')}`), {
    code: 'OK',
    reason: /to the waypoint shop\/wp\.shop of its service shop\/s at 10\.0\.1\.1:15008, because/,
  })
  t.match(explain(`${GUARDED}, ${at('wp')}`, ''), {
    code: 'OK',
    reason: /shop\/wp\.shop of the pod itself at/,
  })
})

t.test('what is in the way', async (t) => {
  t.match(explain(GUARDED, `, ${at('gone')}`), {
    code: 'WAYPOINT_MISSING',
    reason: 'shop/gone.shop',
    fix: /create it/,
  })
  t.match(explain(GUARDED, ''), { code: 'WAYPOINT_MISSING', reason: /not known yet/ })
  const fromWaypoint = { ...ARRIVAL, sourceIp: '10.0.1.1' }
  t.match(explain(GUARDED, `, ${at('wp')}`, fromWaypoint), { code: 'LOOP', reason: /10\.0\.1\.1/ })
})
