// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { endpointKey } from '../../../mesh/balance/demotions.ts'
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

t.test('who is passed over gets nothing as long as others are there, whatever their rank', async (t) => {
  const mesh = meshOf(`
workloads:
- ${workload('client', '10.0.0.1')}
- ${workload('one', '10.0.0.2', 'services: {"shop/s.shop": {80: 8080}}')}
- ${workload('two', '10.0.0.3', 'services: {"shop/s.shop": {80: 8080}}')}
- ${workload('three', '10.0.0.4', 'services: {"shop/s.shop": {80: 8080}}')}
services:
- {name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 8080}}
`)
  const source = mesh.workloadByIp('', '10.0.0.1')
  if (source === undefined) throw new Error('no source')
  const view = describeDestination(mesh, source, '', '10.9.0.1', 80)
  const out = new Set<string>()
  const passedOver = {
    get isEmpty() {
      return out.size === 0
    },
    avoids: (key: string) => out.has(key),
  }
  const picker = new DestinationPicker(view, () => 0, passedOver)
  const picked = (tried: ReadonlySet<string> | null = null): string[] => {
    const names = Array.from({ length: 30 }, () => picker.pickEndpoint(tried)?.workload.name ?? 'nobody')
    return [...new Set(names)].toSorted()
  }
  t.same(picked(), ['one', 'three', 'two'])
  const keyOf = (name: string): string => {
    const found = view.candidates.find(({ workload: { name: own } }) => own === name)
    return endpointKey(found?.uid ?? '', found?.authority ?? '')
  }
  out.add(keyOf('one'))
  t.same(picked(), ['three', 'two'])
  out.add(keyOf('two'))
  t.same(picked(), ['three'])
  const three = view.candidates.find(({ workload: { name } }) => name === 'three')?.uid ?? ''
  t.same(picked(new Set([three])), ['one', 'two'], 'a guess is better than a refusal')
  out.add(keyOf('three'))
  t.same(picked(), ['one', 'three', 'two'])
})
