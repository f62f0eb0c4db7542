// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DestinationPicker } from '../../../mesh/balance/destination-picker.ts'
import { describeDestination } from '../../../mesh/model/destination.ts'
import { meshOf, workload } from '../../support/mesh.ts'

t.test('weighted waypoints get their shares and each its own instances', async (t) => {
  const waypoint = (name: string) => ({ destination: `shop/${name}.shop`, hboneMtlsPort: 15008 })
  const mesh = meshOf(`
workloads:
- ${workload('client', '10.0.0.1')}
- ${workload('one', '10.0.0.2', 'services: {"shop/one.shop": {}}')}
- ${workload('two', '10.0.0.3', 'services: {"shop/two.shop": {}}')}
services:
- {name: one, namespace: shop, hostname: one.shop, vips: [], ports: {15008: 15008}}
- {name: two, namespace: shop, hostname: two.shop, vips: [], ports: {15008: 15008}}
- {name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 80},
   weightedWaypoints: [{destination: ${JSON.stringify(waypoint('one'))}, weight: 3},
                       {destination: ${JSON.stringify(waypoint('two'))}, weight: 1}]}
`)
  const source = mesh.workloadByIp('', '10.0.0.1')
  if (source === undefined) throw new Error('no source')
  const view = describeDestination(mesh, source, '', '10.9.0.1', 80)
  const picker = new DestinationPicker(view, () => 0)
  const found: Record<string, number> = {}
  for (let index = 0; index < 40; index++) {
    const chosen = picker.pickWaypoint()
    const instance = chosen === null ? null : picker.pickInstance(chosen, null)
    const key = `${chosen?.uid} ${instance?.dial.ip}`
    found[key] = (found[key] ?? 0) + 1
  }
  t.same(found, { 'shop/one.shop 10.0.0.2': 30, 'shop/two.shop 10.0.0.3': 10 })
  t.equal(picker.pickEndpoint(null), null, 'never around a waypoint')
})
