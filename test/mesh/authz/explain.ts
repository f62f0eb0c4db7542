// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { AuthzConnection } from '../../../mesh/authz/connection.ts'
import { compilePolicies } from '../../../mesh/authz/evaluate.ts'
import { explain } from '../../../mesh/authz/explain.ts'
import { EMPTY_MATCH, type Match, type Policy } from '../../../mesh/model/policy.ts'

const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const match = (partial: Partial<Match>): Match => ({ ...EMPTY_MATCH, ...partial })
const policy = (name: string, action: Policy['action'], rules: Policy['rules']): Policy => {
  return { name, namespace: 'shop', scope: 'Namespace', action, rules, dryRun: false }
}
const explained = (policies: Policy[], connection: AuthzConnection) =>
  explain(policies, connection, compilePolicies(policies).evaluate(connection))
const toPort80 = new AuthzConnection('10.0.0.1', CART, '10.0.0.9', 80)

t.test('a refusal names the nearest rule, the field and the fix', async (t) => {
  const far = [[match({ namespaces: [{ kind: 'exact', value: 'pay' }], destinationPorts: [9] })]]
  const near = [
    [match({ serviceAccounts: [{ namespace: 'shop', serviceAccount: 'cart' }], destinationPorts: [8080] })],
  ]
  const { nearest, reason, fix } = explained([policy('a', 'Allow', [far, near])], toPort80)
  t.match(nearest, {
    policy: 'shop/a',
    rule: 1,
    differences: [{ field: 'destinationPorts', expected: '8080', actual: '80' }],
  })
  t.equal(fix, 'add 80 to destinationPorts in rule 1 of shop/a')
  t.match(
    reason,
    /no ALLOW policy matches cluster.local\/ns\/shop\/sa\/cart to port 80; nearest is rule 1 of shop\/a/,
  )
})

t.test('a caller without identity is told to enrol', async (t) => {
  const rules = [[[match({ principals: [{ kind: 'presence' }] })]]]
  const { fix } = explained(
    [policy('a', 'Allow', rules)],
    new AuthzConnection('10.0.0.1', null, '10.0.0.9', 80),
  )
  t.equal(fix, 'enrol the calling workload')
})

t.test('a DENY names itself, a negative list what to remove', async (t) => {
  t.match(explained([policy('d', 'Deny', [[]])], toPort80).reason, /the DENY policy shop\/d matches/)
  const rules = [[[match({ notNamespaces: [{ kind: 'suffix', value: 'op' }] })]]]
  t.equal(
    explained([policy('a', 'Allow', rules)], toPort80).fix,
    'remove shop from notNamespaces in rule 0 of shop/a',
  )
})

t.test('what the controller made is explained by what the user wrote', async (t) => {
  const l7 = explained([policy('sidestep_needs_l7_by-header', 'Deny', [[]])], toPort80)
  t.equal(l7.verdict.code, 'POLICY_NEEDS_L7')
  t.match(
    l7.reason,
    /^the policy shop\/by-header has to look into what cluster\.local\/ns\/shop\/sa\/cart sends/,
  )
  t.match(l7.fix, /give the destination a waypoint that enforces shop\/by-header/)
  const guard = explained([policy('sidestep_waypoint_only_infra_gate', 'Deny', [[]])], toPort80)
  t.equal(guard.verdict.code, 'WAYPOINT_BYPASS')
  t.match(guard.reason, /goes round the waypoint infra\/gate from 10\.0\.0\.1/)
  t.match(guard.fix, /call the service/)
  t.notMatch(guard.fix + guard.reason + l7.fix + l7.reason, /sidestep_/)
})

t.test('allowed connections and policies without rules are explained too', async (t) => {
  t.match(explained([], toPort80), { fix: '', reason: /no DENY policy matches/ })
  t.match(explained([policy('a', 'Allow', [[]])], toPort80), {
    fix: '',
    reason: 'the ALLOW policy shop/a matches',
  })
  t.match(explained([policy('a', 'Allow', [])], toPort80), { nearest: null, fix: /add a rule/ })
})
