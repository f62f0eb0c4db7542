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
import { type PolicyTarget, readTargets, type TargetedService } from './policy-targets.ts'
import { readMatchLabels, type Selector } from './selectors.ts'
import type { ConfigFinding, PolicyEnforcement } from './translation.ts'

const ACTIONS = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const
const SPEC_FIELDS = ['selector', 'targetRef', 'targetRefs', 'rules', 'action', 'provider']
const DRY_RUN = 'istio.io/dry-run'

/** One policy as far as the rest of the translation needs it. */
export interface PolicyPart {
  readonly messages: readonly Authorization[]
  /** Workloads that must name the messages; null: none need to. */
  readonly selector: Selector | null
  /** Keys of services whose workloads must name the messages. */
  readonly services: readonly string[]
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: PolicyEnforcement
}

/** What a policy is about, read before the rest: targets are looked up by the caller. */
export function targetsOf(policy: ConfigObject): readonly PolicyTarget[] {
  const spec = new Fields(policy.spec, 'spec', new Notes(policy))
  return readTargets(spec, policy.metadata.namespace).targets
}

/**
 * Translates one policy. `found` answers targetsOf() in its order: the services that are meant, undefined where the
 * target does not exist.
 */
export function translatePolicy(
  policy: ConfigObject,
  rootNamespace: string,
  found: readonly (readonly TargetedService[] | undefined)[],
): PolicyPart {
  const notes = new Notes(policy)
  const home = policy.metadata.namespace
  const spec = new Fields(policy.spec, 'spec', notes)
  spec.refuseUnknown(SPEC_FIELDS)
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
  if (split.undecided.length > 0) messages.push(noteNeedsL7(draft, action, scope, split.undecided))
  const enforcement: PolicyEnforcement =
    split.undecided.length > 0 || split.isBroken
      ? { object: refOf(draft.policy), kind: 'refused', message: REFUSED }
      : { object: refOf(draft.policy), kind: 'exact', message: 'enforced by ztunnels' }
  return { messages, selector, services: [], findings: notes.findings, enforcement }
}

const REFUSED = 'enforced by ztunnels; what they cannot decide is refused'

/** A policy for services: their waypoint enforces it; where there is none, its connections are refused. */
function forTargets(
  draft: Draft,
  targets: readonly PolicyTarget[],
  found: readonly (readonly TargetedService[] | undefined)[],
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
  const unbound = found.flatMap((services) => (services ?? []).filter(({ isBound }) => !isBound))
  if (unbound.length === 0) {
    const isKnown = found.some((services) => services !== undefined)
    const enforcement: PolicyEnforcement = isKnown
      ? { object, kind: 'exact', message: 'enforced by waypoints' }
      : { object, kind: 'nowhere', message: 'nothing that it is for exists' }
    return { messages: [], selector: null, services: [], findings: notes.findings, enforcement }
  }
  const ports = [...new Set(unbound.flatMap((service) => service.ports))].toSorted((a, b) => a - b)
  const atPorts = { matches: [{ destinationPorts: ports }] }
  // ALLOW refuses whom it does not name, so that without a decision everybody is refused.
  const widely = action === 'ALLOW' ? [{ clauses: [] }] : widest(rules)
  const refused =
    ports.length === 0 ? [] : widely.map((rule) => ({ clauses: [atPorts, ...(rule.clauses ?? [])] }))
  const messages = refused.length === 0 ? [] : [noteNeedsL7(draft, action, Scope.WORKLOAD_SELECTOR, refused)]
  const message = `refused at services without waypoint: ${unbound
    .map(({ key }) => key)
    .slice(0, 5)
    .join(', ')}`
  return {
    messages,
    selector: null,
    services: unbound.map(({ key }) => key),
    findings: notes.findings,
    enforcement: { object, kind: 'refused', message },
  }
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
  return { messages: [message], selector, services: [], findings: draft.notes.findings, enforcement }
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
  return { messages: [], selector: null, services: [], findings: draft.notes.findings, enforcement }
}

function noteNeedsL7(
  draft: Draft,
  action: EnforcedAction,
  scope: Scope,
  rules: readonly RuleInit[],
): Authorization {
  if (action === 'CUSTOM') {
    const message = 'external authorizers are not asked; what they would decide is refused'
    draft.notes.add('POLICY_ACTION_NOT_SERVED', 'spec.action', message, 'use ALLOW or DENY')
  } else {
    const message =
      'no waypoint enforces this policy; the connections that it would have to look into are refused'
    draft.notes.add('POLICY_NEEDS_L7', 'spec.rules', message, 'use a targetRef to a service with a waypoint')
  }
  return messageOf(draft, NEEDS_L7_PREFIX, scope, Action.DENY, rules)
}

function messageOf(
  { policy, isDryRun }: Draft,
  prefix: string,
  scope: Scope,
  action: Action,
  rules: readonly RuleInit[],
): Authorization {
  const name = `${prefix}${wireName(policy.metadata.name)}`
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
