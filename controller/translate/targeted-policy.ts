// SPDX-License-Identifier: Apache-2.0
// AuthorizationPolicies with targetRefs: their waypoints enforce them. Where none does, a ztunnel refuses what a policy
// concerns, and no more; test/fuzz/translate-waypoint-policies.ts compares.
import { create } from '@bufbuild/protobuf'
import { Action, Scope } from '../../proto/generated/istio/authorization_pb.js'
import {
  type RequestPolicy,
  RequestPolicy_Action,
  RequestPolicySchema,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { refOf } from '../watch/config-object.ts'
import { type ReadRule, widest } from './authorization-rules.ts'
import {
  type Draft,
  type EnforcedAction,
  type MessageUsers,
  messageOf,
  noteNeedsL7,
  type PolicyPart,
} from './policy-draft.ts'
import { NEEDS_L7_PREFIX, portsSuffix } from './policy-names.ts'
import type { FoundTarget, PolicyTarget, TargetedService } from './policy-targets.ts'
import type { RequestRules } from './requests/request-rules.ts'
import type { PolicyEnforcement } from './translation.ts'

/**
 * A policy for what is behind waypoints: they enforce it. Where there is none, the connections are refused: those to the
 * ports of a service, and all of a workload that asks for a waypoint itself.
 */
export function translateTargeted(
  draft: Draft,
  targets: readonly PolicyTarget[],
  found: readonly (FoundTarget | undefined)[],
  action: EnforcedAction | 'AUDIT',
  rules: readonly ReadRule[],
  read: RequestRules,
): PolicyPart {
  const { notes, policy } = draft
  for (const [index, target] of targets.entries()) {
    if (found[index] !== undefined) continue
    const message = `there is no ${target.kind} ${target.name} for this policy`
    notes.add('POLICY_TARGET_NOT_FOUND', target.path, message, 'create it, or mend the name')
  }
  const object = refOf(policy)
  const { generation } = policy.metadata
  const known = found.flatMap((each) => each ?? [])
  const waypoints = [...new Set(known.flatMap((each) => each.waypoints))].toSorted()
  const unbound = known.flatMap(({ services }) => services.filter(({ isBound }) => !isBound))
  const missing = [...new Set(known.flatMap((each) => each.missing))]
  const request = requestPolicy(draft, action, read)
  // Where nobody decides, nobody records: AUDIT refuses nothing.
  if (action === 'AUDIT' || unbound.length + missing.length === 0) {
    if (action === 'CUSTOM' && known.length > 0) noteNeedsL7(draft, action)
    const enforcement: PolicyEnforcement = {
      ...{ object, generation, selects: null, waypoints },
      ...outcomeOf(draft, action, read, known.length > 0 && (action !== 'AUDIT' || waypoints.length > 0)),
    }
    return { messages: [], selector: null, users: [], request, findings: notes.findings, enforcement }
  }
  // ALLOW refuses whom it does not name, so that without a decision everybody is refused.
  const widely = action === 'ALLOW' ? [{ clauses: [] }] : widest(rules)
  const deciders = [...new Set(known.flatMap((each) => each.deciders))].map(exactly)
  const decided = deciders.length === 0 ? [] : [{ matches: [{ notPrincipals: deciders }] }]
  const refusals = refusedPlaces(unbound, missing)
  const users: MessageUsers[] = []
  const messages = refusals.flatMap(({ ports, suffix, ...named }) => {
    const places = [...(ports === null ? [] : [{ matches: [{ destinationPorts: [...ports] }] }]), ...decided]
    const refused = widely.map((rule) => ({ clauses: [...places, ...(rule.clauses ?? [])] }))
    if (refused.length === 0) return []
    const message = messageOf(
      draft,
      NEEDS_L7_PREFIX,
      Scope.WORKLOAD_SELECTOR,
      Action.DENY,
      refused,
      refusals.length === 1 ? '' : suffix,
    )
    users.push({ name: message.name, ...named })
    return [message]
  })
  if (messages.length > 0) noteUndecided(draft, action)
  const enforcement: PolicyEnforcement = {
    ...{ object, generation, kind: 'refused', message: refusedWhere(unbound, missing) },
    ...{ caveat: draft.isDryRun ? 'dry-run' : null, selects: null, waypoints: [] },
  }
  return { messages, selector: null, users, request, findings: notes.findings, enforcement }
}

/** What waypoints are told. CUSTOM: nobody is asked, so what it would ask about is refused. */
function requestPolicy(
  { policy, isDryRun }: Draft,
  action: EnforcedAction | 'AUDIT',
  { rules }: RequestRules,
): RequestPolicy {
  const { namespace, name } = policy.metadata
  return create(RequestPolicySchema, {
    origin: `${namespace}/${name}`,
    action: RequestPolicy_Action[action === 'CUSTOM' ? 'DENY' : action],
    isDryRun,
    rules: [...rules],
  })
}

/** Of a policy that waypoints decide wherever it is for something. */
function outcomeOf(
  { isDryRun }: Draft,
  action: EnforcedAction | 'AUDIT',
  { isBroken }: RequestRules,
  isDecided: boolean,
): Pick<PolicyEnforcement, 'kind' | 'message' | 'caveat'> {
  if (!isDecided) return { kind: 'nowhere', message: 'nothing that it is for exists', caveat: null }
  const caveat = isDryRun ? 'dry-run' : isBroken ? 'unreadable' : null
  if (action === 'CUSTOM') return { kind: 'refused', message: 'refused by waypoints', caveat }
  if (action === 'AUDIT') return { kind: 'exact', message: 'recorded by waypoints', caveat }
  return isBroken
    ? { kind: 'refused', message: 'enforced by waypoints; what they cannot read is refused', caveat }
    : { kind: 'exact', message: 'enforced by waypoints', caveat }
}

const exactly = (value: string) => ({ matchType: { case: 'exact' as const, value } })

interface RefusedPlace {
  /** null: every port. */
  readonly ports: readonly number[] | null
  readonly suffix: string
  readonly services: readonly string[]
  readonly waypoints: readonly string[]
}

/** Services with the same ports share a message, so that nobody is refused at the ports of others. */
function refusedPlaces(unbound: readonly TargetedService[], missing: readonly string[]): RefusedPlace[] {
  const byPorts = Map.groupBy(unbound, ({ ports }) => ports.join())
  const ofServices = [...byPorts.values()].flatMap((services) => {
    const ports = services[0]?.ports ?? []
    const keys = [...new Set(services.map(({ key }) => key))]
    return ports.length === 0 ? [] : [{ ports, suffix: portsSuffix(ports), services: keys, waypoints: [] }]
  })
  const ofWorkloads = { ports: null, suffix: '_workloads', services: [], waypoints: missing }
  return missing.length === 0 ? ofServices : [...ofServices, ofWorkloads]
}

const MAX_NAMED_PLACES = 5 // in a message for people

function refusedWhere(unbound: readonly TargetedService[], missing: readonly string[]): string {
  const named = (names: readonly string[]): string => names.slice(0, MAX_NAMED_PLACES).join(', ')
  const places = [
    ...(unbound.length === 0 ? [] : [`services without waypoint: ${named(unbound.map(({ key }) => key))}`]),
    ...(missing.length === 0 ? [] : [`workloads that are not given their waypoint: ${named(missing)}`]),
  ]
  return `refused at ${places.join('; at ')}`
}

function noteUndecided(draft: Draft, action: EnforcedAction): void {
  if (action === 'CUSTOM') {
    noteNeedsL7(draft, action)
    return
  }
  const message = 'what it is for has no waypoint that is ready; the connections are refused'
  draft.notes.add(
    'POLICY_NEEDS_L7',
    'spec',
    message,
    'give it a waypoint, or mend the one it names: its findings say why',
  )
}
