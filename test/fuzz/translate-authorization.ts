// SPDX-License-Identifier: Apache-2.0
// Policies with garbage and layer 7 in them never allow more after their translation than what they surely allow as they
// were written; policies without either allow exactly that.
import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { NEEDS_L7_PREFIX } from '../../controller/translate/policy-names.ts'
import { Translator } from '../../controller/translate/translate.ts'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
  type Match,
  RuleSchema,
  Scope,
  StringMatchSchema,
} from '../../proto/generated/istio/authorization_pb.js'
import { naiveVerdict } from '../support/naive-authz.ts'
import { isSurelyAllowed, type NaiveCall, type NaivePod, type RawPolicy } from '../support/naive-policies.ts'
import { receivedPolicy } from '../support/received-policies.ts'
import { SETTINGS } from '../support/translated.ts'
import { toObject, viewOf } from '../support/yaml-objects.ts'

const RUNS = 2500
const pod: NaivePod = {
  namespace: 'shop',
  labels: { app: 'cart', version: 'v1' },
  service: 'cart',
  servicePorts: [80, 8080],
}

const garbage: fc.Arbitrary<unknown> = fc.constantFrom<unknown>(
  7,
  '',
  true,
  {},
  [],
  [null],
  'x',
  { a: 1 },
  -1,
)
/** Mostly good values, or mostly good and sometimes garbage. */
type Mix = <T>(good: fc.Arbitrary<T>) => fc.Arbitrary<unknown>
const clean: Mix = (good) => good
const dirty: Mix = (good) => fc.oneof({ weight: 12, arbitrary: good }, { weight: 1, arbitrary: garbage })

const strings = fc.constantFrom('*', 'web', 'shop', 'w*', '*p', 'ops', '*.p', 'w.b')
const principals = fc.constantFrom(
  '*',
  'cluster.local/ns/web/sa/front',
  'cluster.local/*',
  '*/sa/front',
  'other/ns/web/sa/front',
  'spiffe://cluster.local/ns/web/sa/front',
)
const accounts = fc.constantFrom('front', 'web/front', 'shop/cart', 'root')
const badAccounts = fc.constantFrom('web/*', 'a/b/c', '/front', 'web/')
const blocks = fc.constantFrom('10.0.0.0/8', '10.0.0.1', '10.0.0.0/24', 'fd00::/8', '0.0.0.0/0', 'fc00::/7')
const badBlocks = fc.constantFrom('10.0.0.0/33', 'x', '10.0.0.300', '10.0.0.0/', 'fd00::/129')
const ports = fc.constantFrom('80', '8080', '9999')
const badPorts = fc.constantFrom('http', '0', '70000', '80-90')

function specs(isDirty: boolean): fc.Arbitrary<Record<string, unknown>> {
  const mix = isDirty ? dirty : clean
  const list = (good: fc.Arbitrary<string>, bad: fc.Arbitrary<string> = fc.constant('')) =>
    mix(
      fc.array(mix(isDirty ? fc.oneof({ weight: 9, arbitrary: good }, bad) : good), {
        minLength: 1,
        maxLength: 3,
      }),
    )
  const l7 = list(fc.constantFrom('GET', '/admin', '*'))
  const record = (fields: Record<string, fc.Arbitrary<unknown>>, l7Fields: readonly string[]) => {
    const all = { ...fields, ...(isDirty ? Object.fromEntries(l7Fields.map((name) => [name, l7])) : {}) }
    return fc
      .subarray(Object.keys(all), {
        minLength: isDirty ? 0 : 1,
        maxLength: Math.min(3, Object.keys(all).length),
      })
      .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, all[key] ?? fc.constant(1)]))))
  }
  const source = record(
    {
      principals: list(principals),
      notPrincipals: list(principals),
      namespaces: list(strings),
      notNamespaces: list(strings),
      serviceAccounts: list(accounts, badAccounts),
      notServiceAccounts: list(accounts, badAccounts),
      ipBlocks: list(blocks, badBlocks),
      notIpBlocks: list(blocks, badBlocks),
    },
    ['requestPrincipals', 'remoteIpBlocks', 'unknown'],
  )
  const operation = record({ ports: list(ports, badPorts), notPorts: list(ports, badPorts) }, [
    'methods',
    'notPaths',
    'port',
  ])
  const values = { ip: list(blocks, badBlocks), text: list(strings), port: list(ports, badPorts) }
  const condition = fc
    .constantFrom(
      ...(isDirty ? (['request.headers[x]', 'sorce.ip'] as const) : []),
      'source.ip' as const,
      'source.namespace' as const,
      'destination.ip' as const,
      'destination.port' as const,
      'source.principal' as const,
    )
    .chain((key) => {
      const value = key.endsWith('ip') ? values.ip : key.endsWith('port') ? values.port : values.text
      const both = { key: mix(fc.constant(key)), values: value, notValues: value }
      return fc.record(both, { requiredKeys: ['key', 'values'] })
    })
  const rule = fc.record(
    {
      from: mix(fc.array(mix(fc.record({ source: mix(source) })), { maxLength: 2 })),
      to: mix(fc.array(mix(fc.record({ operation: mix(operation) })), { maxLength: 2 })),
      when: mix(fc.array(mix(condition), { maxLength: 2 })),
      ...(isDirty ? { form: garbage } : {}),
    },
    { requiredKeys: [] },
  )
  const labels = fc.constantFrom({ app: 'cart' }, { app: 'other' }, {}, { app: 'cart', version: 'v1' })
  const target = fc.constantFrom('cart', 'other').map((name) => ({ group: '', kind: 'Service', name }))
  const wide: fc.Arbitrary<Record<string, unknown>> = fc.record(
    {
      selector: mix(fc.record({ matchLabels: mix(labels) })),
      action: mix(
        isDirty ? fc.constantFrom('ALLOW', 'DENY', 'AUDIT', 'CUSTOM') : fc.constantFrom('ALLOW', 'DENY'),
      ),
      rules: mix(fc.array(mix(rule), { maxLength: 3 })),
      ...(isDirty ? { targetRefs: mix(fc.array(mix(target), { minLength: 1, maxLength: 2 })) } : {}),
      ...(isDirty ? { rule: garbage } : {}),
    },
    { requiredKeys: [] },
  )
  // Most policies are not broken at the top, so that their rules are looked at.
  return isDirty ? wide.map(({ rule, targetRefs, ...rest }) => keepSome(rest, rule, targetRefs)) : wide
}

function keepSome(
  rest: Record<string, unknown>,
  rule: unknown,
  targetRefs: unknown,
): Record<string, unknown> {
  if (rule === 7) return { ...rest, rule }
  if (targetRefs === undefined || JSON.stringify(rest).length % 3 > 0) return rest
  const { selector: _, ...others } = rest
  return { ...others, targetRefs }
}

const policiesOf = (isDirty: boolean): fc.Arbitrary<RawPolicy[]> =>
  fc.array(
    fc.record({
      namespace: fc.constantFrom('shop', 'shop', 'web', 'istio-system'),
      isDryRun: fc.constantFrom(false, false, false, true),
      spec: specs(isDirty),
    }),
    { minLength: 1, maxLength: 3 },
  )

const ips = fc.constantFrom('10.0.0.1', '10.0.1.1', '192.168.0.1', 'fd00::1')
const call: fc.Arbitrary<NaiveCall> = fc.record({
  sourceIp: ips,
  destinationIp: ips,
  destinationPort: fc.constantFrom(80, 8080, 9999),
  identity: fc.option(
    fc.record({
      trustDomain: fc.constantFrom('cluster.local', 'other'),
      // One name that begins like another: exact is not prefix.
      namespace: fc.constantFrom('web', 'shop', 'web2'),
      serviceAccount: fc.constantFrom('front', 'cart', 'front2'),
    }),
    { freq: 4 },
  ),
})

/** Translates the policies beside the pod and its service; `change` may spoil what is sent. */
function isAllowedAfter(policies: readonly RawPolicy[], one: NaiveCall, change: Change = same): boolean {
  const service = { selector: { app: 'cart' }, ports: [{ port: 80 }, { port: 81, targetPort: 'web' }] }
  const containers = [{ name: 'cart', ports: [{ name: 'web', containerPort: 8080 }] }]
  const objects = [
    toObject({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'cart', namespace: 'shop' },
      spec: service,
    }),
    toObject({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'cart', namespace: 'shop', labels: pod.labels },
      spec: { containers },
      status: { podIP: '10.2.0.1' },
    }),
    ...policies.map(({ namespace, isDryRun, spec }, index) =>
      toObject({
        apiVersion: index % 2 === 0 ? 'security.istio.io/v1' : 'security.istio.io/v1beta1',
        kind: 'AuthorizationPolicy',
        metadata: {
          name: `p${index}`,
          namespace,
          annotations: isDryRun ? { 'istio.io/dry-run': 'true' } : {},
        },
        spec,
      }),
    ),
  ]
  const { workloads, authorizations } = new Translator(SETTINGS).translate(viewOf(objects))
  const workload = [...workloads.values()][0]
  if (workload === undefined) throw new Error('the pod is gone')
  const sent = change([...authorizations.values()]).map((each) =>
    fromBinary(AuthorizationSchema, toBinary(AuthorizationSchema, each)),
  )
  return naiveVerdict(sent.map(receivedPolicy), workload, one).allowed
}

type Change = (policies: readonly Authorization[]) => readonly Authorization[]
const same: Change = (policies) => policies

/** What a mistake in the translation could do to what is sent: each must be noticed. */
const MUTATIONS: Readonly<Record<string, Change>> = {
  'what needs layer 7 is left out': (all) => all.filter(({ name }) => !name.startsWith(NEEDS_L7_PREFIX)),
  'an ALLOW that allows nothing is left out': (all) =>
    all.filter(({ action, rules }) => action === Action.DENY || rules.length > 0),
  'a DENY is left out': (all) => all.filter(({ action }) => action === Action.ALLOW),
  'a DENY of the namespace waits to be named': (all) =>
    all.map((each) => (each.scope === Scope.NAMESPACE ? { ...each, scope: Scope.WORKLOAD_SELECTOR } : each)),
  'a rule that matches nothing matches everything': (all) =>
    all.map((each) =>
      each.action === Action.ALLOW && each.rules.length === 0
        ? { ...each, rules: [create(RuleSchema)] }
        : each,
    ),
  'exceptions of an ALLOW are forgotten': (all) => changeMatches(all, Action.ALLOW, forgetExceptions),
  'addresses of an ALLOW lose their length': (all) => changeMatches(all, Action.ALLOW, forgetLengths),
  'strings of an ALLOW lose their value': (all) => changeMatches(all, Action.ALLOW, forgetValues),
  'a clause of an ALLOW is forgotten': (all) =>
    all.map((each) => {
      const copy = clone(AuthorizationSchema, each)
      if (copy.action === Action.ALLOW) for (const rule of copy.rules) rule.clauses.shift()
      return copy
    }),
  'what is enforced is tried only': (all) => all.map((each) => ({ ...each, dryRun: true })),
}

function changeMatches(all: readonly Authorization[], action: Action, change: (match: Match) => void) {
  return all.map((each) => {
    const copy = clone(AuthorizationSchema, each)
    if (copy.action !== action) return copy
    for (const rule of copy.rules) for (const clause of rule.clauses) clause.matches.forEach(change)
    return copy
  })
}

function forgetExceptions(match: Match): void {
  match.notPrincipals = []
  match.notNamespaces = []
  match.notSourceIps = []
  match.notDestinationPorts = []
}

function forgetLengths(match: Match): void {
  for (const each of [...match.sourceIps, ...match.destinationIps]) each.length = 0
}

function forgetValues(match: Match): void {
  // One value beside another attribute, so that the match is not empty altogether.
  match.principals = match.principals.map(() => create(StringMatchSchema))
  match.namespaces = match.namespaces.map(() => create(StringMatchSchema))
}

const isNarrow = (policies: readonly RawPolicy[], one: NaiveCall, change: Change): boolean =>
  !isAllowedAfter(policies, one, change) || isSurelyAllowed(policies, pod, one)

t.test('no translation ever allows what was not surely allowed', async (t) => {
  let allowed = 0
  const property = fc.property(policiesOf(true), call, (policies, one) => {
    if (isAllowedAfter(policies, one)) allowed++
    return isNarrow(policies, one, same)
  })
  fc.assert(property, { numRuns: RUNS, seed: 20_261 })
  t.ok(
    allowed > RUNS / 20,
    `${allowed} of ${RUNS} connections were allowed: the property has something to say`,
  )
})

t.test('a policy that layer 4 can decide is enforced exactly', async (t) => {
  let allowed = 0
  const property = fc.property(policiesOf(false), call, (policies, one) => {
    const isAllowed = isAllowedAfter(policies, one)
    if (isAllowed) allowed++
    return isAllowed === isSurelyAllowed(policies, pod, one)
  })
  fc.assert(property, { numRuns: RUNS, seed: 20_262 })
  t.ok(allowed > RUNS / 20 && allowed < RUNS * 0.95, `${allowed} of ${RUNS} allowed`)
})

t.test('every mistake that would widen a policy is noticed', async (t) => {
  for (const [name, change] of Object.entries(MUTATIONS)) {
    const isFound = [true, false].some(
      (isDirty) =>
        fc.check(
          fc.property(policiesOf(isDirty), call, (policies, one) => isNarrow(policies, one, change)),
          { numRuns: RUNS, seed: 20_263, endOnFailure: true },
        ).failed,
    )
    t.ok(isFound, name)
  }
})
