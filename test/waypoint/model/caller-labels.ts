// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MeshState } from '../../../mesh/model/mesh-state.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../../../mesh/model/workload.ts'
import { callerLabels } from '../../../waypoint/model/caller-labels.ts'

const workload = (name: string, ip: string, labels: Workload['labels']): Workload => ({
  ...WORKLOAD_DEFAULTS,
  ...{
    uid: name,
    name,
    namespace: 'shop',
    serviceAccount: name,
    trustDomain: 'td',
    workloadIps: [ip],
    labels,
  },
})
const state = new MeshState(
  {
    workloads: [workload('front', '10.0.0.1', { tier: 'gold' }), workload('batch', '10.0.0.2', null)],
    ...{ services: [], policies: [] },
  },
  1,
)
const of = (identity: string, ip: string, network = ''): unknown => callerLabels(state, network, identity, ip)

t.test('the caller is who has the identity that is proven and the address that is claimed', async (t) => {
  t.same(of('spiffe://td/ns/shop/sa/front', '10.0.0.1'), { tier: 'gold' })
  t.same(of('spiffe://td/ns/shop/sa/batch', '10.0.0.2'), {}, 'it has none that anybody names')
})

t.test('nobody else has labels', async (t) => {
  t.same(of('spiffe://td/ns/shop/sa/batch', '10.0.0.1'), {}, 'the address of another one')
  t.same(of('spiffe://td/ns/shop/sa/front', '10.0.0.2'), {})
  t.same(of('spiffe://td/ns/shop/sa/front', '10.0.0.9'), {}, 'of nobody')
  t.same(of('spiffe://td/ns/shop/sa/front', '10.0.0.1', 'far'), {}, 'of another network')
  t.same(of('', '10.0.0.1'), {}, 'who has proven nothing')
})
