// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatGateway, identityOf, WORKLOAD_DEFAULTS } from '../../../mesh/model/workload.ts'

t.test('the identity is trust domain, namespace and service account, nothing else', async (t) => {
  const one = { ...WORKLOAD_DEFAULTS, trustDomain: 'td', namespace: 'shop', serviceAccount: 'cart' }
  t.equal(identityOf(one), 'spiffe://td/ns/shop/sa/cart')
  t.equal(identityOf({ ...one, uid: 'u', name: 'n', network: 'far' }), identityOf(one))
  for (const other of [{ trustDomain: 'x' }, { namespace: 'x' }, { serviceAccount: 'x' }])
    t.not(identityOf({ ...one, ...other }), identityOf(one))
})

t.test('gateways are written as files write them', async (t) => {
  for (const [destination, text] of [
    [{ kind: 'hostname', namespace: 'shop', hostname: 'wp.shop' }, 'shop/wp.shop'],
    [{ kind: 'address', network: 'net', ip: 'fd00::1' }, 'net/fd00::1'],
    [{ kind: 'address', network: '', ip: '10.0.0.1' }, '/10.0.0.1'],
  ] as const)
    t.equal(formatGateway({ destination, hboneMtlsPort: 15008 }), text)
})

t.test('what is not said is plain, healthy, found by its address, and of no service', async (t) => {
  t.match(WORKLOAD_DEFAULTS, { protocol: 'TCP', status: 'Healthy', networkMode: 'Standard', capacity: 1 })
  t.match(WORKLOAD_DEFAULTS, { waypoint: null, applicationTunnel: null, nativeTunnel: false })
  const { services, workloadIps, authorizationPolicies } = WORKLOAD_DEFAULTS
  t.same([services, workloadIps, authorizationPolicies], [{}, [], []])
  t.same(structuredClone(WORKLOAD_DEFAULTS), WORKLOAD_DEFAULTS)
})
