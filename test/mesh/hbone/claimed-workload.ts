// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { claimedWorkload } from '../../../mesh/hbone/claimed-workload.ts'

const ID = { trustDomain: 'td', namespace: 'shop', serviceAccount: 'front' }

t.test('identity, namespace and service account are what was proven, whatever is claimed', async (t) => {
  const claim = 'k8s.cluster.name=c,k8s.namespace.name=elsewhere,k8s.deployment.name=web,service.name=app'
  t.match(claimedWorkload(ID, claim), {
    ...{ identity: 'spiffe://td/ns/shop/sa/front', namespace: 'shop', serviceAccount: 'front' },
    ...{ name: 'web', workloadName: 'web', workloadType: 'deployment', clusterId: 'c', canonicalName: 'app' },
  })
})

t.test('who says nothing has no name, and two claims are two workloads of telemetry', async (t) => {
  t.match(claimedWorkload(ID, ''), { name: '', workloadName: '', region: '', zone: '' })
  t.not(claimedWorkload(ID, '').uid, claimedWorkload(ID, 'service.name=app').uid)
})
