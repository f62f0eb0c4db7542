// SPDX-License-Identifier: Apache-2.0
// Whether a target's policies let a request or a connection in: DENY, then ALLOW; where there is no ALLOW policy, everybody.
// SPEC ISTIO-API AuthorizationPolicy. Compiled once. Pure; never wider than what was written.
import {
  RequestPolicy_Action as Action,
  type RequestConjunction,
  type RequestPolicies,
  type RequestPolicy,
  type RequestRule,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { CallFacts } from './call-facts.ts'
import { type CallTest, compileConstraint, needsRequest } from './constraint.ts'

/** What was decided, and by whom. */
export interface Verdict {
  /** null: it is let in. */
  readonly code: 'POLICY_DENY' | 'POLICY_NO_ALLOW' | null
  /** `<namespace>/<name>[<rule>]`; of POLICY_NO_ALLOW the policies, without rules; '': no policy decided. */
  readonly policy: string
  /** What AUDIT policies matched and what dry-run policies would have done: `audit …`, `dry-run deny …`. */
  readonly notes: readonly string[]
}

interface CompiledPolicy {
  readonly origin: string
  readonly rules: readonly CompiledRule[]
}

interface CompiledRule {
  readonly name: string
  readonly clauses: readonly CallTest[]
}

const LET_IN: Verdict = { code: null, policy: '', notes: [] }
const MAX_NAMED = 5 // policies in a verdict for people

/** What is decided about: a request, or a connection of which nothing is looked into. */
export type Subject = 'request' | 'connection'

/** The policies of one target. */
export class Authorizer {
  readonly #deny: readonly CompiledPolicy[]
  readonly #allow: readonly CompiledPolicy[]
  readonly #audit: readonly CompiledPolicy[]
  readonly #triedDeny: readonly CompiledPolicy[]
  readonly #triedAllow: readonly CompiledPolicy[]
  readonly #isNoting: boolean

  constructor({ policies }: Pick<RequestPolicies, 'policies'>, subject: Subject) {
    const of = (action: Action, isDryRun: boolean): CompiledPolicy[] =>
      policies
        .filter((each) => each.action === action && each.isDryRun === isDryRun)
        .map((each) => compilePolicy(each, subject))
    // An action that nobody knows might have been a DENY of everything.
    const unknown = policies.filter((each) => !KNOWN.has(each.action) && !each.isDryRun)
    this.#deny = [...of(Action.DENY, false), ...unknown.map(denyAll)]
    this.#allow = of(Action.ALLOW, false)
    this.#audit = [...of(Action.AUDIT, false), ...of(Action.AUDIT, true)]
    this.#triedDeny = of(Action.DENY, true)
    this.#triedAllow = of(Action.ALLOW, true)
    this.#isNoting = this.#audit.length + this.#triedDeny.length + this.#triedAllow.length > 0
  }

  authorize(call: CallFacts): Verdict {
    const notes = this.#isNoting ? this.#note(call) : LET_IN.notes
    const denied = firstMatch(this.#deny, call)
    if (denied !== '') return { code: 'POLICY_DENY', policy: denied, notes }
    if (this.#allow.length === 0) return notes.length === 0 ? LET_IN : { ...LET_IN, notes }
    const allowed = firstMatch(this.#allow, call)
    if (allowed !== '') return { code: null, policy: allowed, notes }
    return { code: 'POLICY_NO_ALLOW', policy: namesOf(this.#allow), notes }
  }

  #note(call: CallFacts): string[] {
    const notes = this.#audit.flatMap((policy) => {
      const name = firstMatch([policy], call)
      return name === '' ? [] : [`audit ${name}`]
    })
    const denied = firstMatch(this.#triedDeny, call)
    if (denied !== '') notes.push(`dry-run deny ${denied}`)
    if (this.#triedAllow.length > 0 && firstMatch(this.#triedAllow, call) === '')
      notes.push(`dry-run no allow ${namesOf(this.#triedAllow)}`)
    return notes
  }
}

const KNOWN: ReadonlySet<Action> = new Set([Action.DENY, Action.ALLOW, Action.AUDIT])

function denyAll({ origin }: RequestPolicy): CompiledPolicy {
  return { origin, rules: [{ name: origin, clauses: [] }] }
}

function namesOf(policies: readonly CompiledPolicy[]): string {
  return policies
    .slice(0, MAX_NAMED)
    .map(({ origin }) => origin)
    .join(',')
}

/** Name of the first rule that matches; ''. */
function firstMatch(policies: readonly CompiledPolicy[], call: CallFacts): string {
  for (const { rules } of policies)
    for (const { name, clauses } of rules) if (clauses.every((test) => test(call))) return name
  return ''
}

function compilePolicy({ origin, action, rules }: RequestPolicy, subject: Subject): CompiledPolicy {
  // Only a DENY may take what it cannot decide for true.
  const isWide = action === Action.DENY
  const compiled = rules.flatMap((rule) => compileRule(rule, `${origin}[${rule.index}]`, subject, isWide))
  return { origin, rules: compiled }
}

/** Empty: it never matches. */
function compileRule(
  { clauses }: RequestRule,
  name: string,
  subject: Subject,
  isWide: boolean,
): CompiledRule[] {
  const tests: CallTest[] = []
  for (const { alternatives } of clauses) {
    if (alternatives.length === 0 && !isWide) return []
    const compiled: CallTest[][] = []
    for (const alternative of alternatives) {
      const constraints = compileConjunction(alternative, subject, isWide)
      // SPEC ISTIO: of a connection no rule allows that would have to look into requests, not even by another alternative.
      if (constraints === null) return []
      compiled.push(constraints)
    }
    // One that constrains nothing is true, and so is a clause of a DENY that lost its alternatives.
    if (compiled.length === 0 || compiled.some((constraints) => constraints.length === 0)) continue
    tests.push((call) => compiled.some((constraints) => constraints.every((test) => test(call))))
  }
  return [{ name, clauses: tests }]
}

/** null: the rule never matches. */
function compileConjunction(
  { constraints }: RequestConjunction,
  subject: Subject,
  isWide: boolean,
): CallTest[] | null {
  const tests: CallTest[] = []
  for (const constraint of constraints) {
    const isAskable = subject === 'request' || !needsRequest(constraint)
    const test = isAskable ? compileConstraint(constraint) : null
    if (test !== null) tests.push(test)
    else if (!isWide) return null
  }
  return tests
}
