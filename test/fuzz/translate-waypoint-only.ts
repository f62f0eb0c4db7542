// SPDX-License-Identifier: Apache-2.0
// A pod behind a waypoint lets in what comes from there and is allowed without that rule too; all other pods decide as if
// there were no such rule. Decided by the code that decides on nodes.
import { clone, toJson } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { WAYPOINT_ONLY_PREFIX } from '../../controller/translate/policy-names.ts'
import { Translator } from '../../controller/translate/translate.ts'
import type { Translation } from '../../controller/translate/translation.ts'
import type { ConfigObject } from '../../controller/watch/config-object.ts'
import { AuthzConnection } from '../../mesh/authz/connection.ts'
import { compilePolicies, evaluate } from '../../mesh/authz/evaluate.ts'
import { decodePolicy } from '../../mesh/discovery/decode-policy.ts'
import { MeshState } from '../../mesh/model/mesh-state.ts'
import { WORKLOAD_DEFAULTS } from '../../mesh/model/workload.ts'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
} from '../../proto/generated/istio/authorization_pb.js'
import { ServiceSchema, type Workload, WorkloadSchema } from '../../proto/generated/istio/workload_pb.js'
import { EXTENSIONS, SETTINGS } from '../support/translated.ts'
import {
  ACCOUNTS,
  boundTo,
  type Call,
  calls,
  identityOf,
  objectsOf,
  translateWorld,
  type World,
  worlds,
} from '../support/waypoint-worlds.ts'
import { toObject, viewOf } from '../support/yaml-objects.ts'

const RUNS = 3000

function isAllowed(pod: Workload, policies: readonly Authorization[], call: Call): boolean {
  const state = new MeshState({ workloads: [], services: [], policies: policies.map(decodePolicy) }, 1)
  const { namespace, authorizationPolicies } = pod
  const index = compilePolicies(state.policiesFor({ ...WORKLOAD_DEFAULTS, namespace, authorizationPolicies }))
  const connection = new AuthzConnection('10.2.0.9', identityOf(call), '10.2.0.1', call.port)
  return evaluate(index, connection).allowed
}

const isGuard = ({ name }: Authorization): boolean => name.startsWith(WAYPOINT_ONLY_PREFIX)
type Change = (guard: Authorization) => Authorization[]

/** Allowed with the rule when, and only when, it is allowed without and comes from a waypoint, if there is one. */
function holds(
  world: World,
  call: Call,
  change: Change,
): { readonly holds: boolean; readonly isLetIn: boolean } {
  const { pod, authorizations } = translateWorld(world)
  const others = authorizations.filter((each) => !isGuard(each))
  const isLetIn = isAllowed(pod, [...others, ...authorizations.filter(isGuard).flatMap(change)], call)
  const behind = [boundTo(world, 'workload'), boundTo(world, 'service')].flatMap((name) => name ?? [])
  const isFromWaypoint =
    call.source?.namespace === 'shop' && behind.some((name) => ACCOUNTS[name] === call.source?.account)
  const isExpected = isAllowed(pod, others, call) && (behind.length === 0 || isFromWaypoint)
  return { holds: isLetIn === isExpected, isLetIn }
}

t.test('nobody goes round a waypoint, and nothing else changes', async (t) => {
  let letIn = 0
  const property = fc.property(worlds, calls, (world, call) => {
    const result = holds(world, call, (guard) => [guard])
    if (result.isLetIn) letIn++
    return result.holds
  })
  fc.assert(property, { numRuns: RUNS, seed: 20_266 })
  t.ok(letIn > RUNS / 10 && letIn < RUNS * 0.9, `${letIn} of ${RUNS} allowed`)
})

t.test('every mistake in the rule is noticed', async (t) => {
  const spoiled =
    (spoil: (copy: Authorization) => void): Change =>
    (guard) => {
      const copy = clone(AuthorizationSchema, guard)
      spoil(copy)
      return [copy]
    }
  const mutations: Readonly<Record<string, Change>> = {
    'it is forgotten': () => [],
    'it is tried only': spoiled((copy) => (copy.dryRun = true)),
    'it allows, and so adds to what others allow': spoiled((copy) => (copy.action = Action.ALLOW)),
    'one of two waypoints is refused': spoiled((copy) => {
      for (const match of copy.rules.flatMap(({ clauses }) => clauses.flatMap(({ matches }) => matches)))
        match.notPrincipals = match.notPrincipals.slice(0, 1)
    }),
  }
  for (const [name, change] of Object.entries(mutations)) {
    const property = fc.property(worlds, calls, (world, call) => holds(world, call, change).holds)
    t.ok(fc.check(property, { numRuns: RUNS, seed: 20_267, endOnFailure: true }).failed, name)
  }
})

/** A translation as text; what is the same object as before is the same text. */
function textOf({ workloads, services, authorizations, findings, enforcement }: Translation): string {
  const lists = [
    [...workloads.values()].map((each) => toJson(WorkloadSchema, each, { registry: EXTENSIONS })),
    [...services.values()].map((each) => toJson(ServiceSchema, each, { registry: EXTENSIONS })),
    [...authorizations.values()].map((each) => toJson(AuthorizationSchema, each)),
  ]
  return JSON.stringify([...lists, findings, enforcement])
}

t.test('waypoints that come and go leave nothing behind in what is remembered', async (t) => {
  // An object that says the same is the same object, as it is for the sources.
  const known = new Map<string, ConfigObject>()
  const objectOf = (raw: Record<string, unknown>): ConfigObject => {
    const text = JSON.stringify(raw)
    const object = known.get(text) ?? toObject(raw)
    known.set(text, object)
    return object
  }
  // Few worlds, many steps: mostly little changes, which is where something may be kept that should not.
  const step = fc.tuple(fc.constantFrom(0, 0, 1), fc.constantFrom('near-account', 'another'))
  const steps = fc.array(step, { minLength: 2, maxLength: 6 })
  const property = fc.property(fc.tuple(worlds, worlds), steps, (pair, sequence) => {
    const translator = new Translator(SETTINGS)
    return sequence.every(([index, account]) => {
      const world = pair[index] ?? pair[0]
      const texts = JSON.stringify(objectsOf(world)).replace(
        '"serviceAccountName":"near-account"',
        `"serviceAccountName":"${account}"`,
      )
      const raws = JSON.parse(texts) as Record<string, unknown>[] // as: what was written just now
      const view = viewOf(raws.map(objectOf))
      return textOf(translator.translate(view)) === textOf(new Translator(SETTINGS).translate(view))
    })
  })
  fc.assert(property, { numRuns: 500, seed: 20_268 })
  t.pass('every translation equals a first one')
})
