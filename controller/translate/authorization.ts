// SPDX-License-Identifier: Apache-2.0
// AuthorizationPolicies for ztunnels. A policy is enforced exactly or refused (design.md, "Rules of behaviour" 2): what
// needs layer 7 becomes a DENY of a reserved name, what cannot be read allows nothing or denies everything it might have
// meant. Nothing here may ever allow more than was written; test/fuzz/translate-authorization.ts tries.
import { create } from '@bufbuild/protobuf'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
  Scope,
} from '../../proto/generated/istio/authorization_pb.js'
import { type ConfigObject, refOf } from '../watch/config-object.ts'
import {
  type ReadRule,
  type RuleInit,
  readRules,
  type SplitRules,
  splitForAllow,
  splitForDeny,
  widest,
} from './authorization-rules.ts'
import { Fields } from './fields.ts'
import { Notes } from './notes.ts'
import { NEEDS_L7_PREFIX, wireName } from './policy-names.ts'
import { type FoundTarget, type PolicyTarget, readTargets, type TargetedService } from './policy-targets.ts'
import { readMatchLabels, type Selector } from './selectors.ts'
import type { ConfigFinding, PolicyEnforcement } from './translation.ts'

const ACTIONS = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const
/** Fields of an AuthorizationPolicy. */
export const POLICY_FIELDS = ['selector', 'targetRef', 'targetRefs', 'rules', 'action', 'provider']
const DRY_RUN = 'istio.io/dry-run'

/** One policy as far as the rest of the translation needs it. */
export interface PolicyPart {
  readonly messages: readonly Authorization[]
  /** Workloads that must name the messages; null: none need to. */
  readonly selector: Selector | null
  /** Other workloads that must name a message. */
  readonly users: readonly MessageUsers[]
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: PolicyEnforcement
}

/** Who must name a message of a policy with targets. */
export interface MessageUsers {
  /** Of the message. */
  readonly name: string
  /** Keys of services: their workloads. */
  readonly services: readonly string[]
  /** `<namespace>/<name>` of waypoints: the workloads that ask for one and are not given it. */
  readonly waypoints: readonly string[]
}

/** What a policy is about, read before the rest: targets are looked up by the caller. */
export function targetsOf(policy: ConfigObject): readonly PolicyTarget[] {
  const spec = new Fields(policy.spec, 'spec', new Notes(policy))
  return readTargets(spec, policy.metadata.namespace).targets
}

/**
 * Translates one policy. `found` answers targetsOf() in its order: what is meant, undefined where the target does
 * not exist.
 */
export function translatePolicy(
  policy: ConfigObject,
  rootNamespace: string,
  found: readonly (FoundTarget | undefined)[],
): PolicyPart {
  const notes = new Notes(policy)
  const home = policy.metadata.namespace
  const spec = new Fields(policy.spec, 'spec', notes)
  spec.refuseUnknown(POLICY_FIELDS)
  const isSpecBroken = notes.errors > 0
  const selector = readMatchLabels(spec, 'selector')
  const { targets, isBroken: isTargetBroken } = readTargets(spec, home)
  if (selector !== null && targets.length > 0) {
    notes.add(
      'INVALID_VALUE',
      'spec.selector',
      'selector and targetRefs exclude each other',
      'remove one of them',
    )
  }
  const isScopeBroken =
    isSpecBroken || isTargetBroken || selector === 'unreadable' || (selector !== null && targets.length > 0)
  const action = spec.oneOf('action', ACTIONS, spec.raw('action') === undefined ? 'ALLOW' : null)
  const { rules, isBroken } = readRules(spec, home)
  const draft: Draft = { policy, notes, rootNamespace, isDryRun: isDryRun(policy, notes) }
  if (action === 'AUDIT') return nowhere(draft, 'AUDIT')
  // A field that nobody knows may have been meant for the rules as well as for the scope.
  const known = isSpecBroken || isBroken ? null : rules
  if (isScopeBroken || known === null || action === null) {
    // A waypoint decides beside the ztunnel: another policy's ALLOW does not help against its "nobody".
    const isForTargets = spec.raw('targetRef') !== undefined || spec.raw('targetRefs') !== undefined
    const meant = isForTargets && action === 'ALLOW' ? null : action
    return refusedWhole(draft, isScopeBroken || selector === null ? null : selector, meant, known)
  }
  if (targets.length > 0) return forTargets(draft, targets, found, action, rules)
  const split = splitFor(action, rules)
  return forWorkloads(draft, selector, action, split)
}

interface Draft {
  readonly policy: ConfigObject
  readonly notes: Notes
  readonly rootNamespace: string
  readonly isDryRun: boolean
}

type EnforcedAction = 'ALLOW' | 'DENY' | 'CUSTOM'

function splitFor(action: EnforcedAction, rules: readonly ReadRule[]): SplitRules {
  if (action === 'ALLOW') return splitForAllow(rules)
  if (action === 'DENY') return splitForDeny(rules)
  // An external authorizer could refuse whatever its rules select.
  return { exact: [], undecided: widest(rules), isBroken: false }
}

function forWorkloads(
  draft: Draft,
  selector: Selector | null,
  action: EnforcedAction,
  split: SplitRules,
): PolicyPart {
  const { notes } = draft
  const scope = selector === null ? wideScope(draft) : Scope.WORKLOAD_SELECTOR
  const messages: Authorization[] = []
  // An ALLOW without rules is kept: that there is one refuses everybody. A DENY without rules says nothing.
  if (action === 'ALLOW') messages.push(messageOf(draft, '', scope, Action.ALLOW, split.exact))
  if (action === 'DENY' && split.exact.length > 0) {
    messages.push(messageOf(draft, '', scope, Action.DENY, split.exact))
  }
  if (split.undecided.length > 0) {
    noteNeedsL7(draft, action)
    messages.push(messageOf(draft, NEEDS_L7_PREFIX, scope, Action.DENY, split.undecided))
  }
  const enforcement: PolicyEnforcement =
    split.undecided.length > 0 || split.isBroken
      ? { object: refOf(draft.policy), kind: 'refused', message: REFUSED }
      : { object: refOf(draft.policy), kind: 'exact', message: 'enforced by ztunnels' }
  return { messages, selector, users: [], findings: notes.findings, enforcement }
}

const REFUSED = 'enforced by ztunnels; what they cannot decide is refused'

/**
 * A policy for what is behind waypoints: they enforce it. Where there is none, the connections are refused: those to the
 * ports of a service, and all of a workload that asks for a waypoint itself.
 */
function forTargets(
  draft: Draft,
  targets: readonly PolicyTarget[],
  found: readonly (FoundTarget | undefined)[],
  action: EnforcedAction,
  rules: readonly ReadRule[],
): PolicyPart {
  const { notes, policy } = draft
  for (const [index, target] of targets.entries()) {
    if (found[index] !== undefined) continue
    const message = `there is no ${target.kind} ${target.name} for this policy`
    notes.add('POLICY_TARGET_NOT_FOUND', target.path, message, 'create it, or mend the name')
  }
  const object = refOf(policy)
  const known = found.flatMap((each) => each ?? [])
  const unbound = known.flatMap(({ services }) => services.filter(({ isBound }) => !isBound))
  const missing = [...new Set(known.flatMap((each) => each.missing))]
  if (unbound.length + missing.length === 0) {
    const enforcement: PolicyEnforcement =
      known.length > 0
        ? { object, kind: 'exact', message: 'enforced by waypoints' }
        : { object, kind: 'nowhere', message: 'nothing that it is for exists' }
    return { messages: [], selector: null, users: [], findings: notes.findings, enforcement }
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
  const enforcement: PolicyEnforcement = { object, kind: 'refused', message: refusedWhere(unbound, missing) }
  return { messages, selector: null, users, findings: notes.findings, enforcement }
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
  const byPorts = Map.groupBy(unbound, ({ ports }) => ports.join('_'))
  const ofServices = [...byPorts].flatMap(([text, services]) => {
    const ports = services[0]?.ports ?? []
    const keys = [...new Set(services.map(({ key }) => key))]
    return ports.length === 0 ? [] : [{ ports, suffix: `_${text}`, services: keys, waypoints: [] }]
  })
  const ofWorkloads = { ports: null, suffix: '_workloads', services: [], waypoints: missing }
  return missing.length === 0 ? ofServices : [...ofServices, ofWorkloads]
}

const MAX_NAMED_PLACES = 5

function refusedWhere(unbound: readonly TargetedService[], missing: readonly string[]): string {
  const named = (names: readonly string[]): string => names.slice(0, MAX_NAMED_PLACES).join(', ')
  const places = [
    ...(unbound.length === 0 ? [] : [`services without waypoint: ${named(unbound.map(({ key }) => key))}`]),
    ...(missing.length === 0 ? [] : [`workloads that are not given their waypoint: ${named(missing)}`]),
  ]
  return `refused at ${places.join('; at ')}`
}

/** A policy of which not even the scope or the action is known: everything it might be about is refused. */
function refusedWhole(
  draft: Draft,
  selector: Selector | null,
  action: EnforcedAction | null,
  rules: readonly ReadRule[] | null,
): PolicyPart {
  const scope = selector === null ? wideScope(draft) : Scope.WORKLOAD_SELECTOR
  // With the action unknown, or a DENY that lost its rules, only "nobody" is safe.
  const denied: readonly RuleInit[] = action === null || rules === null ? [{ clauses: [] }] : widest(rules)
  const message =
    action === 'ALLOW'
      ? messageOf(draft, '', scope, Action.ALLOW, [])
      : messageOf(draft, '', scope, Action.DENY, denied)
  const enforcement: PolicyEnforcement = {
    object: refOf(draft.policy),
    kind: 'refused',
    message: 'it cannot be read: what it might be about is refused',
  }
  return { messages: [message], selector, users: [], findings: draft.notes.findings, enforcement }
}

function nowhere(draft: Draft, action: string): PolicyPart {
  const message = `policies of action ${action} are not served; nothing is recorded`
  draft.notes.add(
    'POLICY_ACTION_NOT_SERVED',
    'spec.action',
    message,
    `use ALLOW with ${DRY_RUN}: "true" to try a policy`,
  )
  const enforcement: PolicyEnforcement = { object: refOf(draft.policy), kind: 'nowhere', message }
  return { messages: [], selector: null, users: [], findings: draft.notes.findings, enforcement }
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

function noteNeedsL7(draft: Draft, action: EnforcedAction): void {
  if (action === 'CUSTOM') {
    const message = 'external authorizers are not asked; what they would decide is refused'
    draft.notes.add('POLICY_ACTION_NOT_SERVED', 'spec.action', message, 'use ALLOW or DENY')
  } else {
    const message =
      'no waypoint enforces this policy; the connections that it would have to look into are refused'
    draft.notes.add('POLICY_NEEDS_L7', 'spec.rules', message, 'use a targetRef to a service with a waypoint')
  }
}

function messageOf(
  { policy, isDryRun }: Draft,
  prefix: string,
  scope: Scope,
  action: Action,
  rules: readonly RuleInit[],
  suffix = '',
): Authorization {
  const name = `${prefix}${wireName(policy.metadata.name)}${suffix}`
  const { namespace } = policy.metadata
  return create(AuthorizationSchema, { name, namespace, scope, action, rules: [...rules], dryRun: isDryRun })
}

function wideScope({ policy, rootNamespace }: Draft): Scope {
  return policy.metadata.namespace === rootNamespace ? Scope.GLOBAL : Scope.NAMESPACE
}

function isDryRun(policy: ConfigObject, notes: Notes): boolean {
  const text: unknown = policy.metadata.annotations[DRY_RUN]
  if (text === undefined || text === 'false' || text === '') return false
  if (text === 'true') return true
  const path = `metadata.annotations.${DRY_RUN}`
  notes.add(
    'INVALID_VALUE',
    path,
    'the value is neither "true" nor "false"; the policy is enforced',
    'write "true"',
  )
  return false
}
