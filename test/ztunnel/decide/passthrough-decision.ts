// SPDX-License-Identifier: Apache-2.0
// The rows of SPEC HBONE §4.3.
import t from 'tap'
import { compilePolicies } from '../../../mesh/authz/evaluate.ts'
import { describeInbound } from '../../../mesh/model/inbound.ts'
import { decidePassthrough } from '../../../ztunnel/decide/passthrough-decision.ts'
import { meshOf, workload } from '../../support/mesh.ts'

function decide(port: number, rules: string) {
  const mesh = meshOf(`
workloads:
- ${workload('pod', '10.0.0.1')}
policies:
- {name: p, namespace: shop, scope: Namespace, action: Deny, dryRun: false, rules: ${rules}}
`)
  const pod = mesh.workloadByUid('pod')
  if (pod === undefined) throw new Error('no pod')
  const view = describeInbound(mesh, pod)
  const index = compilePolicies(view.policies)
  return decidePassthrough(view, { ip: '10.0.0.1', port }, '10.0.0.7', (connection) =>
    index.evaluate(connection),
  )
}

t.test('plaintext goes to its original destination', async (t) => {
  t.match(decide(80, '[]'), {
    kind: 'passthrough',
    dial: { ip: '10.0.0.1', port: 80 },
    connection: { principal: '', sourceIp: '10.0.0.7' },
  })
})

t.test('a strict pod refuses it, by the policy that says so', async (t) => {
  const strict = '[[[{notPrincipals: [!Presence []]}]]]'
  t.match(decide(80, strict), {
    kind: 'refusal',
    code: 'POLICY_DENY',
    detail: 'explicitly denied by: shop/p',
  })
})

t.test('ports of the mesh and unknown pods are refused', async (t) => {
  for (const port of [15001, 15006, 15008, 15080]) {
    t.match(decide(port, '[]'), { kind: 'refusal', code: 'CONNECT_INTERNAL_PORT' })
  }
  const destination = { ip: '10.0.0.1', port: 80 }
  const allow = compilePolicies([])
  const asked = decidePassthrough(null, destination, '10.0.0.7', (connection) => allow.evaluate(connection))
  t.match(asked, { kind: 'refusal', code: 'WORKLOAD_UNKNOWN' })
})
