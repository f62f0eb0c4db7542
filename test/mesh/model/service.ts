// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { SERVICE_DEFAULTS, serviceKey } from '../../../mesh/model/service.ts'

t.test('a service is known by namespace and host', async (t) => {
  t.equal(serviceKey({ namespace: 'shop', hostname: 'cart.shop' }), 'shop/cart.shop')
  const same = { ...SERVICE_DEFAULTS, name: 'x', namespace: 'shop', hostname: 'cart.shop', canonical: true }
  t.equal(serviceKey(same), 'shop/cart.shop', 'and by nothing else')
})

t.test('what is not said is public, without waypoint, without preference', async (t) => {
  t.match(SERVICE_DEFAULTS, { visibility: 'Public', canonical: false, waypoint: null, loadBalancer: null })
  const { subjectAltNames, weightedWaypoints, ports, vips, cidrVips } = SERVICE_DEFAULTS
  t.same([subjectAltNames, weightedWaypoints, ports, vips, cidrVips], [[], [], {}, [], []])
  t.same(structuredClone(SERVICE_DEFAULTS), SERVICE_DEFAULTS)
})
