// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { localityRank, REFUSED_RANK } from '../../../mesh/model/preference.ts'
import type { LoadBalancer, RoutingScope } from '../../../mesh/model/service.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../../../mesh/model/workload.ts'

const at = (region: string, zone: string, more: Partial<Workload> = {}): Workload => {
  return { ...WORKLOAD_DEFAULTS, locality: { region, zone, subzone: '' }, ...more }
}
const balancer = (mode: LoadBalancer['mode'], ...routingPreferences: RoutingScope[]): LoadBalancer => {
  return { mode, routingPreferences, healthPolicy: 'OnlyHealthy' }
}
const source = at('r', 'z', { node: 'n', clusterId: 'c', network: 'net' })

t.test('the rank counts leading matches and stops at the first mismatch', async (t) => {
  const failover = balancer('Failover', 'Region', 'Zone', 'Node', 'Cluster')
  t.equal(localityRank(failover, source, source), 4)
  t.equal(localityRank(failover, source, at('r', 'z')), 2)
  t.equal(localityRank(failover, source, at('r', 'other', { node: 'n' })), 1)
  t.equal(localityRank(failover, source, at('other', 'z')), 0)
})

t.test('a network in front outweighs everything and does not stop the rest', async (t) => {
  const failover = balancer('Failover', 'Network', 'Region', 'Zone')
  const sameNetworkElsewhere = localityRank(failover, source, at('x', 'x', { network: 'net' }))
  const otherNetworkHere = localityRank(failover, source, at('r', 'z'))
  t.ok(sameNetworkElsewhere > otherNetworkHere)
  t.ok(otherNetworkHere > localityRank(failover, source, at('r', 'x')))
})

t.test('STRICT refuses what is no full match; other modes have no ranks', async (t) => {
  t.equal(localityRank(balancer('Strict', 'Region', 'Zone'), source, at('r', 'x')), REFUSED_RANK)
  t.equal(localityRank(balancer('Strict', 'Region', 'Zone'), source, at('r', 'z')), 2)
  t.not(localityRank(balancer('Strict', 'Network', 'Zone'), source, source), REFUSED_RANK)
  t.equal(localityRank(balancer('Strict', 'Network', 'Zone'), source, at('r', 'z')), REFUSED_RANK)
  t.equal(localityRank(balancer('Standard', 'Region'), source, source), 0)
  t.equal(localityRank(balancer('Passthrough', 'Region'), source, source), 0)
  t.equal(localityRank(null, source, source), 0)
})
