// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { describePolicy } from '../../../mesh/authz/describe.ts'
import { EMPTY_MATCH, type Match, type Policy, type Rule } from '../../../mesh/model/policy.ts'

const policy = (rules: readonly Rule[], changes: Partial<Policy> = {}): Policy => ({
  ...{ name: 'p', namespace: 'shop', scope: 'Namespace', action: 'Deny', dryRun: false, rules },
  ...changes,
})
const match = (fields: Partial<Match>): Match => ({ ...EMPTY_MATCH, ...fields })
const BATCH = match({ principals: [{ kind: 'exact', value: 'td/ns/shop/sa/batch' }] })

t.test('what each form of a rule says', async (t) => {
  const cases: readonly (readonly [Rule, string])[] = [
    [[[BATCH]], 'identity td/ns/shop/sa/batch'],
    [[[match({ destinationPorts: [80, 443], sourceIps: ['10.0.0.0/8'] })]], 'from 10.0.0.0/8, port 80, 443'],
    [
      [[BATCH, match({ namespaces: [{ kind: 'prefix', value: 'te' }] })]],
      '(identity td/ns/shop/sa/batch or namespace te*)',
    ],
    [[[BATCH], [match({ notDestinationPorts: [80] })]], 'identity td/ns/shop/sa/batch and port not 80'],
    [[[match({ notPrincipals: [{ kind: 'presence' }] })]], 'no identity'],
    [
      [[match({ serviceAccounts: [{ namespace: 'shop', serviceAccount: 'cart' }] })]],
      'service account shop/cart',
    ],
    [[], 'anybody'],
    [[[]], 'anybody'],
    [[[EMPTY_MATCH]], 'nobody'],
    [[[BATCH], [EMPTY_MATCH]], 'nobody'],
  ]
  for (const [rule, expected] of cases) t.equal(describePolicy(policy([rule])), `refuses ${expected}`)
})

t.test('action, dry run, no rules, many rules', async (t) => {
  t.equal(describePolicy(policy([], { action: 'Allow' })), 'allows nobody')
  t.equal(describePolicy(policy([[[BATCH]]], { dryRun: true })), 'would refuse identity td/ns/shop/sa/batch')
  t.equal(
    describePolicy(policy([[], []], { action: 'Allow', dryRun: true })),
    'would allow anybody or anybody',
  )
  const many = describePolicy(policy(Array.from({ length: 10_000 }, (): Rule => [[BATCH]])))
  t.match(many, /or 9995 more rules$/)
  t.ok(many.length < 300)
})
