// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import {
  RequestConstraint_Attribute as Attribute,
  RequestPoliciesSchema,
  RequestPolicy_Action,
} from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { TargetGuard } from '../../../waypoint/carry/target-guard.ts'

const deny = (attribute: Attribute, text: string) =>
  create(RequestPoliciesSchema, {
    policies: [
      {
        ...{ origin: 'shop/no', action: RequestPolicy_Action.DENY },
        rules: [{ clauses: [{ alternatives: [{ constraints: [{ attribute, values: [{ text }] }] }] }] }],
      },
    ],
  })
const sender = { ip: '10.0.0.1', identity: 'spiffe://td/ns/web/sa/front' }

t.test('every service that a target stands for has its say, at its own port', async (t) => {
  const policies = deny(Attribute.DESTINATION_PORT, '81')
  const at = (...ports: readonly number[]) =>
    new TargetGuard(
      ports.map((port) => ({ policies, port })),
      '10.0.0.9:8080',
    ).authorize(sender, null).code
  t.equal(at(80), null)
  t.equal(at(80, 81), 'POLICY_DENY')
  t.equal(at(), null)
})

t.test('a caller is known by its identity, or by nothing', async (t) => {
  for (const [attribute, text] of [
    [Attribute.SOURCE_PRINCIPAL, 'td/ns/web/sa/front'],
    [Attribute.SOURCE_NAMESPACE, 'web'],
    [Attribute.SOURCE_SERVICE_ACCOUNT, 'web/front'],
  ] as const) {
    const guard = new TargetGuard([{ policies: deny(attribute, text), port: 80 }], '10.96.0.1:80')
    t.equal(guard.authorize(sender, null).code, 'POLICY_DENY', text)
    t.equal(guard.authorize({ ...sender, identity: '' }, null).code, null, text)
  }
})

t.test('the same token rule of two services is one', async (t) => {
  const policies = () =>
    create(RequestPoliciesSchema, { tokenRules: [{ issuer: 'i', timeout: { seconds: 1n } }] })
  const guard = new TargetGuard(
    [
      { policies: policies(), port: 80 },
      { policies: policies(), port: 81 },
    ],
    'cart.svc:80',
  )
  t.equal(guard.isOpen, false)
  const [found] = guard.tokens.find({ headers: ['authorization', 'Bearer a'], query: '' })
  t.equal(found?.rules.length, 1)
  t.equal(new TargetGuard([], 'cart.svc:80').isOpen, true)
})
