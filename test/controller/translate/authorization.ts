// SPDX-License-Identifier: Apache-2.0
// What the golden files and test/fuzz/translate-authorization.ts do not say: the borders of a policy.
import t from 'tap'
import { POLICY_FIELDS } from '../../../controller/translate/authorization.ts'
import { CONDITION_FIELDS, RULE_FIELDS } from '../../../controller/translate/authorization-rules.ts'
import { OPERATION_FIELDS, SOURCE_FIELDS } from '../../../controller/translate/l7-detection.ts'
import { MTLS_FIELDS, PEER_FIELDS } from '../../../controller/translate/peer-authentication.ts'
import { TARGET_FIELDS } from '../../../controller/translate/policy-targets.ts'
import { SELECTOR_FIELDS } from '../../../controller/translate/selectors.ts'
import { admitObject } from '../../../controller/watch/admit-object.ts'
import { AUTHORIZATION_POLICY, PEER_AUTHENTICATION } from '../../../controller/watch/schema/istio.ts'
import type { Shape } from '../../../controller/watch/schema/shape.ts'
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

/** Names that a schema has at a place; `*` is an item of a list or a map. */
function namesAt(shape: Shape, path: string): string[] {
  let at: Shape | undefined = shape
  for (const key of path === '' ? [] : path.split('.')) {
    if (at?.type === 'fields') at = at.fields[key]
    else if (at?.type === 'list') at = at.items
    else if (at?.type === 'map') at = at.values
  }
  if (at?.type !== 'fields') throw new Error(`there are no fields at ${path}`)
  return Object.keys(at.fields).toSorted()
}

t.test('a field that the schema knows is known here, so that every other one is told once', async (t) => {
  const places: readonly (readonly [schema: Shape, path: string, known: Iterable<string>])[] = [
    [AUTHORIZATION_POLICY, '', POLICY_FIELDS],
    [AUTHORIZATION_POLICY, 'selector', SELECTOR_FIELDS],
    [AUTHORIZATION_POLICY, 'targetRef', TARGET_FIELDS],
    [AUTHORIZATION_POLICY, 'targetRefs.*', TARGET_FIELDS],
    [AUTHORIZATION_POLICY, 'rules.*', RULE_FIELDS],
    [AUTHORIZATION_POLICY, 'rules.*.from.*', ['source']],
    [AUTHORIZATION_POLICY, 'rules.*.from.*.source', SOURCE_FIELDS.keys()],
    [AUTHORIZATION_POLICY, 'rules.*.to.*', ['operation']],
    [AUTHORIZATION_POLICY, 'rules.*.to.*.operation', OPERATION_FIELDS.keys()],
    [AUTHORIZATION_POLICY, 'rules.*.when.*', CONDITION_FIELDS],
    [PEER_AUTHENTICATION, '', PEER_FIELDS],
    [PEER_AUTHENTICATION, 'selector', SELECTOR_FIELDS],
    [PEER_AUTHENTICATION, 'mtls', MTLS_FIELDS],
    [PEER_AUTHENTICATION, 'portLevelMtls.*', MTLS_FIELDS],
  ]
  for (const [schema, path, known] of places) t.same(namesAt(schema, path), [...known].toSorted(), path)
})

t.test(
  'a misspelt field is told once, with its place, and what it may have forbidden is refused',
  async (t) => {
    const source = { principals: ['*'] }
    const good = {
      from: [{ source }],
      to: [{ operation: { ports: ['80'] } }],
      when: [{ key: 'source.ip', values: ['::'] }],
    }
    const spec = { selector: { matchLabels: { app: 'a' } }, action: 'DENY', rules: [good] }
    const target = { targetRef: { group: '', kind: 'Service', name: 'a' }, rules: [good] }
    const peer = {
      selector: spec.selector,
      mtls: { mode: 'PERMISSIVE' },
      portLevelMtls: { 80: { mode: 'UNSET' } },
    }
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'a', namespace: 'shop' },
      spec: { ports: [{ port: 80 }] },
    }
    const cases: readonly (readonly [kind: string, spec: object])[] = [
      ...mapsIn(spec).map((each) => ['AuthorizationPolicy', each] as const),
      ...mapsIn(target).map((each) => ['AuthorizationPolicy', each] as const),
      ...mapsIn(peer).map((each) => ['PeerAuthentication', each] as const),
    ]
    t.equal(cases.length, 20)
    for (const [kind, misspelt] of cases) {
      const raw = {
        apiVersion: 'security.istio.io/v1',
        kind,
        metadata: { name: 'p', namespace: 'shop' },
        spec: misspelt,
      }
      const { verdict, mistakes } = admitObject(raw, null)
      const text = JSON.stringify(misspelt)
      t.equal(verdict, 'good', text)
      const told = mistakes.filter(({ path }) => path.includes('zzz'))
      t.equal(told.length, 1, text)
      const translation = translateYaml([raw, service].map((each) => JSON.stringify(each)).join('\n---\n'))
      t.notMatch(JSON.stringify(translation.findings), /zzz/, text)
      t.equal(translation.enforcement[0]?.kind, 'refused', text)
    }
  },
)

/** The value once per map in it that has known fields, each time with one field too many there. */
function mapsIn(value: unknown): object[] {
  if (Array.isArray(value))
    return value.flatMap((each: unknown, index) => mapsIn(each).map((inner) => value.with(index, inner)))
  if (typeof value !== 'object' || value === null) return []
  const inside = Object.entries(value).flatMap(([key, each]) =>
    key === 'matchLabels' ? [] : mapsIn(each).map((inner) => ({ ...value, [key]: inner })),
  )
  const isMap = Object.keys(value).every((key) => /^\d+$/.test(key))
  return isMap ? inside : [{ ...value, zzz: 1 }, ...inside]
}
