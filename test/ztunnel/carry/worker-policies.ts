// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { AuthzConnection } from '../../../mesh/authz/connection.ts'
import { compilePolicies } from '../../../mesh/authz/evaluate.ts'
import { describeInbound } from '../../../mesh/model/inbound.ts'
import type { Policy } from '../../../mesh/model/policy.ts'
import { WorkerPolicies } from '../../../ztunnel/carry/worker-policies.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const ALLOW: Policy = {
  ...{ name: 'all', namespace: 'shop', scope: 'Namespace', action: 'Allow', dryRun: false },
  rules: [[]],
}
const mesh = meshOf(`workloads:\n- ${workload('pod', '10.0.0.1')}`)
const pod = mesh.workloadByUid('pod')
if (pod === undefined) throw new Error('no pod')
const inbound = describeInbound(mesh, pod)
const CONNECTION = new AuthzConnection('10.0.0.2', null, '10.0.0.1', 80)

t.test('numbers become the policies they stand for, one object for all pods', async (t) => {
  const policies = new WorkerPolicies()
  policies.add(new Map([[7, ALLOW]]))
  const [one, two] = [1, 2].map(() => policies.resolve({ ...inbound, policies: [7] }))
  t.same(one, { ...inbound, policies: [ALLOW] })
  t.equal(one?.policies[0], two?.policies[0])
})

t.test('a policy whose message was lost closes what it may cover', async (t) => {
  const policies = new WorkerPolicies()
  policies.add(new Map([[7, ALLOW]]))
  const verdictOf = (numbers: readonly number[]): boolean =>
    compilePolicies(policies.resolve({ ...inbound, policies: numbers }).policies).evaluate(CONNECTION).allowed
  t.equal(verdictOf([7]), true)
  t.equal(verdictOf([7, 8]), false)
  policies.remove([7])
  t.equal(verdictOf([7]), false)
})
