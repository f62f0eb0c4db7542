// SPDX-License-Identifier: Apache-2.0
// AuthorizationPolicies for ztunnels. A policy is enforced exactly or refused (design.md, "Rules of behaviour" 2): what
// needs layer 7 becomes a DENY of a reserved name, what cannot be read allows nothing or denies everything it might have
// meant. Nothing here may ever allow more than was written; test/fuzz/translate-authorization.ts tries.
import { Action, type Authorization, Scope } from '../../proto/generated/istio/authorization_pb.js'
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
import { type Draft, type EnforcedAction, messageOf, noteNeedsL7, type PolicyPart } from './policy-draft.ts'
import { NEEDS_L7_PREFIX } from './policy-names.ts'
import { type FoundTarget, type PolicyTarget, readTargets } from './policy-targets.ts'
import { readRequestRules } from './requests/request-rules.ts'
import { labelsOf, readMatchLabels, type Selector } from './selectors.ts'
import { translateTargeted } from './targeted-policy.ts'
import type { PolicyEnforcement, WorkloadSelection } from './translation.ts'

const ACTIONS = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const
/** Fields of an AuthorizationPolicy. */
export const POLICY_FIELDS = ['selector', 'targetRef', 'targetRefs', 'rules', 'action', 'provider']
const DRY_RUN = 'istio.io/dry-run'

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
  // A field that nobody knows may have been meant for the rules as well as for the scope.
  const known = isSpecBroken || isBroken ? null : rules
  if (targets.length > 0 && !isScopeBroken && action !== null && known !== null) {
    const isAllowing = action === 'ALLOW' || action === 'AUDIT'
    const request = readRequestRules(policy, spec, known, isAllowing)
    return translateTargeted(draft, targets, found, action, known, request)
  }
  if (action === 'AUDIT') return nowhere(draft, 'AUDIT')
  if (isScopeBroken || known === null || action === null) {
    // A waypoint decides beside the ztunnel: another policy's ALLOW does not help against its "nobody".
    const isForTargets = spec.raw('targetRef') !== undefined || spec.raw('targetRefs') !== undefined
    const meant = isForTargets && action === 'ALLOW' ? null : action
    return refusedWhole(draft, isScopeBroken || selector === null ? null : selector, meant, known)
  }
  const split = splitFor(action, rules)
  return forWorkloads(draft, selector, action, split)
}

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
  const isRefused = split.undecided.length > 0 || split.isBroken
  const enforcement: PolicyEnforcement = {
    ...subjectOf(draft),
    kind: isRefused ? 'refused' : 'exact',
    message: isRefused ? REFUSED : 'enforced by ztunnels',
    caveat: draft.isDryRun ? 'dry-run' : isRefused && split.undecided.length === 0 ? 'unreadable' : null,
    selects: selectionOf(draft, selector),
    waypoints: [],
  }
  return { messages, selector, users: [], request: null, findings: notes.findings, enforcement }
}

const REFUSED = 'enforced by ztunnels; what they cannot decide is refused'

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
    ...subjectOf(draft),
    kind: 'refused',
    message: 'it cannot be read: what it might be about is refused',
    caveat: draft.isDryRun ? 'dry-run' : 'unreadable',
    selects: selectionOf(draft, selector),
    waypoints: [],
  }
  return {
    messages: [message],
    selector,
    users: [],
    request: null,
    findings: draft.notes.findings,
    enforcement,
  }
}

function nowhere(draft: Draft, action: string): PolicyPart {
  const message = `policies of action ${action} are not served; nothing is recorded`
  draft.notes.add(
    'POLICY_ACTION_NOT_SERVED',
    'spec.action',
    message,
    `use ALLOW with ${DRY_RUN}: "true" to try a policy`,
  )
  const enforcement: PolicyEnforcement = {
    ...{ ...subjectOf(draft), kind: 'nowhere', message },
    ...{ caveat: null, selects: null, waypoints: [] },
  }
  return {
    messages: [],
    selector: null,
    users: [],
    request: null,
    findings: draft.notes.findings,
    enforcement,
  }
}

function subjectOf({ policy }: Draft): Pick<PolicyEnforcement, 'object' | 'generation'> {
  return { object: refOf(policy), generation: policy.metadata.generation }
}

function selectionOf({ policy, rootNamespace }: Draft, selector: Selector | null): WorkloadSelection {
  const { namespace } = policy.metadata
  return { namespace: namespace === rootNamespace ? null : namespace, labels: labelsOf(selector) }
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
