// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { AuthzConnection } from '../../../mesh/authz/connection.ts'
import { compilePolicies, evaluate } from '../../../mesh/authz/evaluate.ts'
import { EMPTY_MATCH, type Match, type Policy, type Rule } from '../../../mesh/model/policy.ts'

const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const connection = (identity: typeof CART | null = CART, port = 80, sourceIp = '10.0.0.1'): AuthzConnection =>
  new AuthzConnection(sourceIp, identity, '10.0.0.9', port)
const match = (partial: Partial<Match>): Match => ({ ...EMPTY_MATCH, ...partial })
const policy = (
  name: string,
  action: Policy['action'],
  rules: Rule[],
  more: Partial<Policy> = {},
): Policy => {
  return { name, namespace: 'shop', scope: 'Namespace', action, rules, dryRun: false, ...more }
}
const everything: Rule = []
const onPort = (port: number): Rule => [[match({ destinationPorts: [port] })]]

t.test('the six steps of the specification, in their order', async (t) => {
  const table: [string, Policy[], object][] = [
    ['no policy', [], { allowed: true, code: 'OK', policy: null }],
    [
      'deny wins',
      [policy('a', 'Allow', [everything]), policy('d', 'Deny', [everything])],
      { code: 'POLICY_DENY' },
    ],
    [
      'a policy that needs layer 7',
      [policy('sidestep_needs_l7_by-header_80', 'Deny', [everything])],
      {
        ...{ allowed: false, code: 'POLICY_NEEDS_L7', policy: 'shop/sidestep_needs_l7_by-header_80' },
        detail: 'shop/by-header has to look into the connection, and no waypoint does',
      },
    ],
    [
      'a guard of a waypoint',
      [policy('sidestep_waypoint_only_shop_gate', 'Deny', [everything])],
      {
        ...{ allowed: false, code: 'WAYPOINT_BYPASS', policy: 'shop/sidestep_waypoint_only_shop_gate' },
        detail: 'only through the waypoint shop/gate',
      },
    ],
    ['deny elsewhere', [policy('d', 'Deny', [onPort(81)])], { allowed: true, policy: null }],
    ['allow matches', [policy('a', 'Allow', [onPort(80)])], { allowed: true, policy: 'shop/a' }],
    [
      'allow misses',
      [policy('a', 'Allow', [onPort(81)])],
      { allowed: false, code: 'POLICY_NO_ALLOW', policy: null },
    ],
    ['allow without rules', [policy('a', 'Allow', [])], { allowed: false, code: 'POLICY_NO_ALLOW' }],
    ['deny without rules', [policy('d', 'Deny', [])], { allowed: true }],
    ['rule of a silent clause', [policy('d', 'Deny', [[[]]])], { allowed: false }],
    ['clause of empty matches', [policy('d', 'Deny', [[[EMPTY_MATCH]]])], { allowed: true }],
    [
      'an empty match beside another',
      [policy('d', 'Deny', [[[EMPTY_MATCH, match({ destinationPorts: [80] })]]])],
      { allowed: false },
    ],
    [
      'dry-run deny is reported',
      [policy('d', 'Deny', [everything], { dryRun: true })],
      { allowed: true, dryRunDeny: 'shop/d', policy: null },
    ],
    [
      'dry-run allow does not demand',
      [policy('a', 'Allow', [onPort(81)], { dryRun: true })],
      { allowed: true, dryRunAllow: null },
    ],
    [
      'dry-run allow does not admit',
      [policy('a', 'Allow', [everything], { dryRun: true }), policy('b', 'Allow', [onPort(81)])],
      { allowed: false, code: 'POLICY_NO_ALLOW', dryRunAllow: 'shop/a' },
    ],
  ]
  for (const [name, policies, expected] of table) {
    t.match(evaluate(compilePolicies(policies), connection()), expected, name)
  }
})

t.test('the first matching policy is named, whichever key finds it', async (t) => {
  const byPort = policy('port', 'Deny', [onPort(80)])
  const byName = policy('name', 'Deny', [
    [[match({ principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/cart' }] })]],
  ])
  t.equal(evaluate(compilePolicies([byPort, byName]), connection()).policy, 'shop/port')
  t.equal(evaluate(compilePolicies([byName, byPort]), connection()).policy, 'shop/name')
  t.equal(evaluate(compilePolicies([byName, byPort]), connection()).detail, 'explicitly denied by: shop/name')
})

t.test('no identity is never a hit, so that notPrincipals any means plaintext', async (t) => {
  const strict = policy('strict', 'Deny', [[[match({ notPrincipals: [{ kind: 'presence' }] })]]])
  const index = compilePolicies([strict])
  t.notOk(evaluate(index, connection(null)).allowed)
  t.ok(evaluate(index, connection()).allowed)
  const account = [{ namespace: '', serviceAccount: '' }]
  const odd = compilePolicies([policy('odd', 'Deny', [[[match({ serviceAccounts: account })]]])])
  t.ok(evaluate(odd, connection(null)).allowed)
})

t.test('ten thousand rules cost what ten do', async (t) => {
  const kinds: [string, (n: number) => Match][] = [
    [
      'principal',
      (n) => match({ principals: [{ kind: 'exact', value: `cluster.local/ns/shop/sa/cart${n}` }] }),
    ],
    ['account', (n) => match({ serviceAccounts: [{ namespace: 'shop', serviceAccount: `cart${n}` }] })],
    ['namespace', (n) => match({ namespaces: [{ kind: 'exact', value: `shop${n}` }] })],
    ['port', (n) => match({ destinationPorts: [n + 1] })],
    [
      'namespace shared by all, port not',
      (n) => match({ namespaces: [{ kind: 'exact', value: 'shop' }], destinationPorts: [n + 1] }),
    ],
  ]
  for (const action of ['Allow', 'Deny'] as const) {
    for (const [name, make] of kinds) {
      const cost = (count: number): number => {
        const rules = Array.from({ length: count }, (_, n): Rule => [[make(n)]])
        const index = compilePolicies([policy('many', action, rules)])
        for (const port of [1, 5, 80]) evaluate(index, connection(CART, port))
        return index.matchesEvaluated
      }
      t.ok(cost(10_000) <= cost(10) + 1, `${action} by ${name}: ${cost(10)} and ${cost(10_000)}`)
    }
  }
  const rules = Array.from({ length: 100 }, (_, n): Rule => [[match({ sourceIps: [`10.9.0.${n}/32`] })]])
  const residual = compilePolicies([policy('cidrs', 'Deny', rules)])
  evaluate(residual, connection())
  t.equal(residual.matchesEvaluated, 100, 'the counter counts: what cannot be indexed is tried one by one')
})

t.test('a long list within one match is one look-up', async (t) => {
  const sourceIps = Array.from({ length: 5000 }, (_, n) => `10.${n >> 8}.${n & 255}.0/24`)
  const index = compilePolicies([policy('a', 'Allow', [[[match({ sourceIps })]]])])
  t.ok(evaluate(index, connection(CART, 80, '10.3.7.9')).allowed)
  t.notOk(evaluate(index, connection(CART, 80, '10.200.7.9')).allowed)
  t.equal(index.matchesEvaluated, 2)
})
