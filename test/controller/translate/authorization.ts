// SPDX-License-Identifier: Apache-2.0
// What the golden files and test/fuzz/translate-authorization.ts do not say: the borders of a policy.
import t from 'tap'
import { Action, Scope } from '../../../proto/generated/istio/authorization_pb.js'
import { findingsOf, translateYaml } from '../../support/translated.ts'

const policy = (spec: object, annotations: object = {}, name = 'p', namespace = 'shop'): string =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace, annotations },
    spec,
  })

/** Scope, action, number of rules and whether it is only tried, of every policy that is sent. */
function sent(text: string): string[] {
  return [...translateYaml(text).authorizations.values()].map(
    ({ namespace, name, scope, action, rules, dryRun }) =>
      `${namespace}/${name} ${Scope[scope]} ${Action[action]} ${rules.length}${dryRun ? ' dry run' : ''}`,
  )
}

t.test('a policy is only tried when it says so exactly', async (t) => {
  const rules = [{ to: [{ operation: { methods: ['GET'], ports: ['80'] } }] }]
  t.same(sent(policy({ rules }, { 'istio.io/dry-run': 'true' })), [
    'shop/p NAMESPACE ALLOW 0 dry run',
    'shop/sidestep_needs_l7_p NAMESPACE DENY 1 dry run',
  ])
  for (const value of ['false', '', undefined]) {
    t.same(sent(policy({}, { 'istio.io/dry-run': value })), ['shop/p NAMESPACE ALLOW 0'])
  }
  for (const value of ['True', 'yes', '1', 7]) {
    const text = policy({}, { 'istio.io/dry-run': value })
    t.same(sent(text), ['shop/p NAMESPACE ALLOW 0'], `${value} is enforced`)
    t.same(findingsOf(translateYaml(text)), ['INVALID_VALUE metadata.annotations.istio.io/dry-run'])
  }
})

t.test('a policy that says nothing allows nobody, a DENY that says nothing is not sent', async (t) => {
  for (const spec of [{}, { rules: [] }, { rules: null }, { action: 'ALLOW', selector: {} }]) {
    t.same(sent(policy(spec)), ['shop/p NAMESPACE ALLOW 0'], JSON.stringify(spec))
  }
  t.same(sent(policy({ action: 'DENY' })), [])
  t.same(sent(policy({ rules: [{}] }, {}, 'p', 'istio-system')), ['istio-system/p GLOBAL ALLOW 1'])
})

t.test('a policy whose scope cannot be read refuses its whole namespace, or the mesh', async (t) => {
  const rules = [{ from: [{ source: { namespaces: ['web'] } }] }]
  const selector = { matchExpressions: [] }
  t.same(sent(policy({ selector, rules })), ['shop/p NAMESPACE ALLOW 0'])
  t.same(sent(policy({ selector, rules, action: 'DENY' }, {}, 'p', 'istio-system')), [
    'istio-system/p GLOBAL DENY 1',
  ])
  const service = { kind: 'Service', group: '', name: 'cart' }
  const broken = [
    { ...service, kind: 'Servce' },
    { ...service, group: 'apps' },
    { ...service, name: '' },
    { ...service, namespace: 'other' },
    { ...service, sectionName: 'http' },
    7,
  ]
  for (const target of broken) {
    t.same(sent(policy({ targetRefs: [target], rules })), ['shop/p NAMESPACE DENY 1'], JSON.stringify(target))
  }
  const both = { targetRefs: [service], selector: { matchLabels: { app: 'cart' } }, rules }
  t.same(sent(policy(both)), ['shop/p NAMESPACE DENY 1'])
})

t.test('a name that Kubernetes would refuse cannot take the place of another policy', async (t) => {
  const rules = [{ to: [{ operation: { methods: ['GET'] } }] }]
  const text = [policy({ rules }), policy({ action: 'ALLOW', rules: [{}] }, {}, 'sidestep_needs_l7_p')].join(
    '\n---\n',
  )
  const names = sent(text)
  t.equal(names.length, 3)
  t.ok(names.includes('shop/sidestep_needs_l7_p NAMESPACE DENY 1'))
})

t.test('a target in front of nobody is told and refuses nobody', async (t) => {
  const text = policy({ targetRefs: [{ kind: 'Service', group: '', name: 'gone' }], rules: [{}] })
  t.same(sent(text), [])
  t.same(findingsOf(translateYaml(text)), ['POLICY_TARGET_NOT_FOUND spec.targetRefs[0]'])
  t.equal(translateYaml(text).enforcement[0]?.kind, 'nowhere')
})
