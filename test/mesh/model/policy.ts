// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { AuthzConnection } from '../../../mesh/authz/connection.ts'
import { compilePolicies } from '../../../mesh/authz/evaluate.ts'
import { EMPTY_MATCH, type Policy, policyKey } from '../../../mesh/model/policy.ts'

const IDENTITY = { trustDomain: 'td', namespace: 'a', serviceAccount: 'b' }
const CONNECTION = new AuthzConnection('10.0.0.1', IDENTITY, '10.0.0.2', 80)
const POLICY: Policy = {
  ...{ name: 'p', namespace: 'shop', scope: 'Global', action: 'Deny', dryRun: false },
  rules: [[[EMPTY_MATCH]]],
}

t.test('a policy is known by namespace and name', async (t) => {
  t.equal(policyKey(POLICY), 'shop/p')
})

t.test('in the empty match no field constrains: one that is set decides alone', async (t) => {
  for (const [key, values] of Object.entries(EMPTY_MATCH)) t.same(values, [], key)
  t.equal(Object.keys(EMPTY_MATCH).length, 12)
  for (const [port, allowed] of [
    [80, false],
    [81, true],
  ] as const) {
    const match = { ...EMPTY_MATCH, destinationPorts: [port] }
    t.match(compilePolicies([{ ...POLICY, rules: [[[match]]] }]).evaluate(CONNECTION), { allowed })
  }
})
