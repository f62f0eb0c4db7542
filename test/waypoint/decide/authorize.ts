// SPDX-License-Identifier: Apache-2.0
// What is decided about a call; test/fuzz/request-authorization.ts compares with an evaluator that reads policies word by word.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import {
  RequestPolicy_Action as Action,
  RequestConstraint_Attribute as Attribute,
  RequestValue_Match as Match,
  type RequestConstraintSchema,
  RequestPoliciesSchema,
  type RequestPolicySchema,
} from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { Authorizer } from '../../../waypoint/decide/authorize.ts'
import { type CallFacts, tokenFacts } from '../../../waypoint/decide/call-facts.ts'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'

type Constraint = Exclude<MessageInitShape<typeof RequestConstraintSchema>, { readonly $typeName: string }>
type Policy = Exclude<MessageInitShape<typeof RequestPolicySchema>, { readonly $typeName: string }>

const is = (attribute: Attribute, text: string, facts: Constraint = {}): Constraint => ({
  ...{ attribute, values: [{ match: Match.EXACT, text }], ...facts },
})
const isNot = (attribute: Attribute, text: string): Constraint => is(attribute, text, { isNegated: true })
const rule = (...constraints: readonly Constraint[]) => ({
  clauses: [{ alternatives: [{ constraints: [...constraints] }] }],
})
const policy = (origin: string, action: Action, rules: Policy['rules'], isDryRun = false): Policy => ({
  ...{ origin, action, isDryRun, rules: rules ?? [] },
})
const authorizer = (policies: readonly Policy[], subject: 'request' | 'connection' = 'request'): Authorizer =>
  new Authorizer(create(RequestPoliciesSchema, { policies: [...policies] }), subject)

const connection: CallFacts = {
  ...{ principal: 'td/ns/web/sa/front', namespace: 'web', serviceAccount: 'web/front' },
  ...{ sourceIp: '10.0.0.1', destinationIp: '10.96.0.1', destinationPort: 80, serverName: '', request: null },
}
const call = (path: string, claims: Record<string, unknown> | null = null): CallFacts => {
  const headers = [':method', 'GET', ':scheme', 'http', ':authority', 'Cart.shop:80', ':path', path]
  const facts = new RequestFacts(headers, { path, query: '' }, { namespace: 'web', labels: {} })
  const token = claims === null ? null : tokenFacts(claims)
  return { ...connection, request: { facts, remoteIp: '192.0.2.7', token } }
}

t.test('DENY counts before ALLOW, and where nothing is allowed everything is', async (t) => {
  const deny = policy('a/deny', Action.DENY, [rule(is(Attribute.PATH, '/x')), rule(is(Attribute.PATH, '/y'))])
  const allow = policy('a/allow', Action.ALLOW, [rule(is(Attribute.HOST, 'cart.shop'))])
  const table: readonly (readonly [Policy[], string, string | null, string])[] = [
    [[], '/x', null, ''],
    [[deny], '/y', 'POLICY_DENY', 'a/deny[0]'],
    [[deny], '/z', null, ''],
    [[allow, deny], '/x', 'POLICY_DENY', 'a/deny[0]'],
    [[allow, deny], '/z', null, 'a/allow[0]'],
    [[policy('a/nobody', Action.ALLOW, [])], '/z', 'POLICY_NO_ALLOW', 'a/nobody'],
    [[policy('a/no-rule', Action.DENY, [])], '/z', null, ''],
  ]
  for (const [policies, path, code, by] of table) {
    const verdict = authorizer(policies).authorize(call(path))
    t.same([verdict.code, verdict.policy], [code, by], JSON.stringify([path, policies]))
  }
})

t.test('AUDIT and dry runs are noted and decide nothing', async (t) => {
  const any = rule()
  const { code, notes } = authorizer([
    policy('a/audit', Action.AUDIT, [any]),
    policy('a/would-deny', Action.DENY, [any], true),
    policy('a/would-not-allow', Action.ALLOW, [], true),
  ]).authorize(call('/'))
  t.same(
    [code, notes],
    [null, ['audit a/audit[0]', 'dry-run deny a/would-deny[0]', 'dry-run no allow a/would-not-allow']],
  )
})

t.test('what nobody has satisfies every negation and no match', async (t) => {
  const noToken = authorizer([policy('a/b', Action.DENY, [rule(isNot(Attribute.REQUEST_PRINCIPAL, 'x'))])])
  t.equal(noToken.authorize(call('/')).code, 'POLICY_DENY')
  t.equal(noToken.authorize(call('/', { iss: 'x', sub: '' })).code, 'POLICY_DENY', 'half a principal is none')
  const present = { values: [{ match: Match.PRESENT, text: '' }] }
  const needs = authorizer([
    policy('a/b', Action.ALLOW, [rule({ attribute: Attribute.REQUEST_PRINCIPAL, ...present })]),
  ])
  t.equal(needs.authorize(call('/')).code, 'POLICY_NO_ALLOW')
  t.equal(needs.authorize(call('/', { iss: 'i', sub: 's' })).code, null)
})

t.test('claims are texts and lists of texts, at any depth', async (t) => {
  const role = authorizer([
    policy('a/b', Action.ALLOW, [rule(is(Attribute.REQUEST_CLAIM, 'admin', { path: ['realm', 'roles'] }))]),
  ])
  const table: readonly (readonly [unknown, string | null])[] = [
    [{ roles: ['user', 'admin'] }, null],
    [{ roles: 'admin' }, null],
    [{ roles: 'admin user' }, 'POLICY_NO_ALLOW'],
    [{ roles: [['admin']] }, 'POLICY_NO_ALLOW'],
    [{ roles: { admin: true } }, 'POLICY_NO_ALLOW'],
    ['admin', 'POLICY_NO_ALLOW'],
  ]
  for (const [realm, code] of table)
    t.equal(role.authorize(call('/', { realm })).code, code, JSON.stringify(realm))
  const scope = authorizer([
    policy('a/b', Action.ALLOW, [rule(is(Attribute.REQUEST_CLAIM, 'read', { path: ['scope'] }))]),
  ])
  t.equal(scope.authorize(call('/', { scope: 'write read' })).code, null, 'scope is a list')
})

t.test('a policy that is not understood never lets more in', async (t) => {
  const unknown = 99 as Attribute // as: of a controller of another version
  const strange = { attribute: Attribute.PATH, values: [{ match: 42 as Match, text: '/' }] } // as: the same
  for (const constraint of [is(unknown, 'x'), { attribute: Attribute.PATH, values: [] }, strange]) {
    const name = JSON.stringify(constraint)
    t.equal(
      authorizer([policy('a/b', Action.DENY, [rule(constraint)])]).authorize(call('/')).code,
      'POLICY_DENY',
      name,
    )
    const allow = authorizer([policy('a/b', Action.ALLOW, [rule(constraint)])])
    t.equal(allow.authorize(call('/')).code, 'POLICY_NO_ALLOW', name)
  }
  const action = 7 as Action // as: the same
  t.equal(
    authorizer([policy('a/b', action, [])]).authorize(call('/')).code,
    'POLICY_DENY',
    'an unknown action',
  )
  const empty = [{ clauses: [{ alternatives: [] }] }]
  t.equal(authorizer([policy('a/b', Action.DENY, empty)]).authorize(call('/')).code, 'POLICY_DENY')
  t.equal(authorizer([policy('a/b', Action.ALLOW, empty)]).authorize(call('/')).code, 'POLICY_NO_ALLOW')
})

t.test(
  'a connection is denied by what is left of a rule, and allowed by no rule about requests',
  async (t) => {
    const inside = rule(is(Attribute.SOURCE_NAMESPACE, 'web'), is(Attribute.PATH, '/x'))
    const code = (policies: readonly Policy[]): string | null =>
      authorizer(policies, 'connection').authorize(connection).code
    t.equal(code([policy('a/b', Action.DENY, [inside])]), 'POLICY_DENY')
    t.equal(code([policy('a/b', Action.ALLOW, [inside])]), 'POLICY_NO_ALLOW')
    t.equal(
      code([
        policy('a/b', Action.DENY, [rule(is(Attribute.SOURCE_NAMESPACE, 'shop'), is(Attribute.PATH, '/x'))]),
      ]),
      null,
    )
    t.equal(code([policy('a/b', Action.ALLOW, [rule(is(Attribute.SOURCE_NAMESPACE, 'web'))])]), null)
  },
)

t.test('hosts are compared with their port and without it', async (t) => {
  for (const [text, code] of [
    ['cart.shop', null],
    ['cart.shop:80', null],
    ['cart.shop:81', 'POLICY_NO_ALLOW'],
  ] as const) {
    const allow = authorizer([policy('a/b', Action.ALLOW, [rule(is(Attribute.HOST, text))])])
    t.equal(allow.authorize(call('/')).code, code, text)
  }
})
