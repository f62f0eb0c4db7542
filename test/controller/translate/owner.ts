// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { canonicalName, canonicalRevision, ownerOf } from '../../../controller/translate/owner.ts'
import { WorkloadType } from '../../../proto/generated/istio/workload_pb.js'
import { toObject } from '../../support/yaml-objects.ts'

function owner(kind: string, name: string, labels: Record<string, string> = {}) {
  const ownerReferences = kind === '' ? [] : [{ apiVersion: 'v1', kind, name, uid: '1' }]
  return ownerOf(
    toObject({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'pod-x', labels, ownerReferences } }),
  )
}

t.test('a pod is known by who made it', async (t) => {
  const { DEPLOYMENT, CRONJOB, JOB, POD } = WorkloadType
  const hash = { 'pod-template-hash': 'abc' }
  t.same(owner('', ''), { name: 'pod-x', type: POD })
  t.same(owner('ReplicaSet', 'cart-abc', hash), { name: 'cart', type: DEPLOYMENT })
  t.same(owner('ReplicaSet', 'cart-abc'), { name: 'cart-abc', type: POD }, 'without a hash it is its own')
  t.same(owner('ReplicaSet', '-abc', hash), { name: '-abc', type: POD }, 'nothing would be left')
  t.same(owner('ReplicaSet', 'cart-abc', { 'rollouts-pod-template-hash': 'abc' }), {
    name: 'cart',
    type: POD,
  })
  t.same(owner('StatefulSet', 'db'), { name: 'db', type: POD })
  t.same(owner('Job', 'import'), { name: 'import', type: JOB })
  t.same(owner('Job', 'nightly-28000000'), { name: 'nightly', type: CRONJOB })
  t.same(owner('Job', 'import-12'), { name: 'import-12', type: JOB })
})

t.test("Istio's names come first, then Kubernetes', then the plain ones", async (t) => {
  t.equal(
    canonicalName({ app: 'c', 'app.kubernetes.io/name': 'b', 'service.istio.io/canonical-name': 'a' }, 'd'),
    'a',
  )
  t.equal(canonicalName({ app: 'c', 'app.kubernetes.io/name': 'b' }, 'd'), 'b')
  t.equal(canonicalName({ app: 'c' }, 'd'), 'c')
  t.equal(canonicalName({}, 'd'), 'd')
  t.equal(canonicalRevision({ version: 'v1' }), 'v1')
  t.equal(canonicalRevision({}), 'latest')
})
