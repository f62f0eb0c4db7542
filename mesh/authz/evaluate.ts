// SPDX-License-Identifier: Apache-2.0
// The verdict of a pod's policies on a connection, exactly as SPEC HBONE §4.4. Rules are indexed by what they name
// exactly, so that ten thousand cost what ten do; what the index offers is then checked in full. evaluate() is on
// the path of every connection: it allocates nothing.
import { type Policy, policyKey } from '../model/policy.ts'
import { type DenialCode, denialCode, writtenKey } from '../model/reserved-policy.ts'
import type { AuthzConnection } from './connection.ts'
import { type CompiledMatch, CompiledRule } from './match.ts'

/** What was decided and by whom. */
export interface Verdict {
  readonly allowed: boolean
  readonly code: 'OK' | 'POLICY_NO_ALLOW' | DenialCode
  /** `namespace/name` of the deciding policy; null when no single policy decided. */
  readonly policy: string | null
  readonly detail: string
  /** First dry-run DENY that matches: it would refuse. Null when none. */
  readonly dryRunDeny: string | null
  /** First dry-run ALLOW that matches. Null when none. */
  readonly dryRunAllow: string | null
}

/** Decides on one connection; what the decision tables are given. */
export type Evaluate = (connection: AuthzConnection) => Verdict

/** The ways to find a rule by one exact value of the connection. */
interface Keys {
  readonly principals: readonly string[]
  readonly accounts: readonly string[]
  readonly namespaces: readonly string[]
  readonly ports: readonly number[]
}

/** Rules of one action, findable by what they name exactly. */
class RuleIndex {
  readonly #byPrincipal = new Map<string, CompiledRule[]>()
  readonly #byAccount = new Map<string, CompiledRule[]>()
  readonly #byNamespace = new Map<string, CompiledRule[]>()
  readonly #byPort = new Map<number, CompiledRule[]>()
  readonly #residual: CompiledRule[] = []
  /** Matches checked since the index was made: the cost, for tests and metrics. */
  matchesEvaluated = 0

  constructor(rules: readonly CompiledRule[]) {
    const possible = rules.filter(({ isImpossible }) => !isImpossible)
    const counts = new Map<string, number>()
    const options = possible.map((rule) => rule.clauses.flatMap(keyOptions))
    for (const keys of options.flat())
      for (const key of flatten(keys)) counts.set(key, (counts.get(key) ?? 0) + 1)
    for (const [index, rule] of possible.entries()) {
      const keys = leastShared(options[index] ?? [], counts)
      if (keys === undefined) this.#residual.push(rule)
      else this.#register(rule, keys)
    }
  }

  /** The policy that matches first in the order they were given, or null. */
  find(connection: AuthzConnection): CompiledRule | null {
    let best = this.#first(this.#residual, connection, null)
    if (connection.hasIdentity) {
      best = this.#first(this.#byPrincipal.get(connection.principal), connection, best)
      if (this.#byAccount.size > 0)
        best = this.#first(this.#byAccount.get(connection.accountKey), connection, best)
    }
    best = this.#first(this.#byNamespace.get(connection.namespace), connection, best)
    return this.#first(this.#byPort.get(connection.destinationPort), connection, best)
  }

  #register(rule: CompiledRule, keys: Keys): void {
    for (const key of keys.principals) append(this.#byPrincipal, key, rule)
    for (const key of keys.accounts) append(this.#byAccount, key, rule)
    for (const key of keys.namespaces) append(this.#byNamespace, key, rule)
    for (const key of keys.ports) append(this.#byPort, key, rule)
  }

  /** Lists are in the order of their policies: stop at the first hit and at what could not come before `best`. */
  #first(
    rules: readonly CompiledRule[] | undefined,
    connection: AuthzConnection,
    best: CompiledRule | null,
  ): CompiledRule | null {
    if (rules === undefined) return best
    for (const rule of rules) {
      if (best !== null && rule.ordinal >= best.ordinal) return best
      if (this.#matches(rule, connection)) return rule
    }
    return best
  }

  #matches(rule: CompiledRule, connection: AuthzConnection): boolean {
    for (const clause of rule.clauses) {
      let isHit = false
      for (const match of clause) {
        this.matchesEvaluated++
        if (match.matches(connection)) {
          isHit = true
          break
        }
      }
      if (!isHit) return false
    }
    return true
  }
}

/** The compiled policies of one destination workload. */
export class PolicyIndex {
  readonly #dryRunDeny: RuleIndex
  readonly #deny: RuleIndex
  readonly #dryRunAllow: RuleIndex
  readonly #allow: RuleIndex
  readonly #hasAllow: boolean
  /** Verdicts by policy: made once, so that a refused connection allocates nothing either. */
  readonly #denied = new Map<string, Verdict>()
  readonly #allowed = new Map<string, Verdict>()

  constructor(policies: readonly Policy[]) {
    const rulesOf = (action: Policy['action'], dryRun: boolean): CompiledRule[] =>
      policies.flatMap((policy, ordinal) =>
        policy.action === action && policy.dryRun === dryRun
          ? policy.rules.map((rule) => new CompiledRule(ordinal, policyKey(policy), rule))
          : [],
      )
    this.#dryRunDeny = new RuleIndex(rulesOf('Deny', true))
    this.#deny = new RuleIndex(rulesOf('Deny', false))
    this.#dryRunAllow = new RuleIndex(rulesOf('Allow', true))
    this.#allow = new RuleIndex(rulesOf('Allow', false))
    this.#hasAllow = policies.some(({ action, dryRun }) => action === 'Allow' && !dryRun)
    for (const policy of policies) {
      if (policy.dryRun) continue
      const key = policyKey(policy)
      if (policy.action === 'Deny') this.#denied.set(key, deniedBy(policy))
      else this.#allowed.set(key, { ...ALLOWED, policy: key })
    }
  }

  /** Matches checked since the index was made. */
  get matchesEvaluated(): number {
    return (
      this.#dryRunDeny.matchesEvaluated +
      this.#deny.matchesEvaluated +
      this.#dryRunAllow.matchesEvaluated +
      this.#allow.matchesEvaluated
    )
  }

  /** SPEC HBONE §4.4, steps 1–6. */
  evaluate(connection: AuthzConnection): Verdict {
    const verdict = this.#decide(connection)
    const dryRunDeny = this.#dryRunDeny.find(connection)
    const dryRunAllow = this.#dryRunAllow.find(connection)
    if (dryRunDeny === null && dryRunAllow === null) return verdict
    return {
      ...verdict,
      dryRunDeny: dryRunDeny?.policyKey ?? null,
      dryRunAllow: dryRunAllow?.policyKey ?? null,
    }
  }

  #decide(connection: AuthzConnection): Verdict {
    const denying = this.#deny.find(connection)
    if (denying !== null) return this.#denied.get(denying.policyKey) ?? DENIED
    if (!this.#hasAllow) return ALLOWED
    const allowing = this.#allow.find(connection)
    if (allowing === null) return NOT_ALLOWED
    return this.#allowed.get(allowing.policyKey) ?? ALLOWED
  }
}

const ALLOWED: Verdict = {
  allowed: true,
  code: 'OK',
  policy: null,
  detail: '',
  dryRunDeny: null,
  dryRunAllow: null,
}
const NOT_ALLOWED: Verdict = {
  ...ALLOWED,
  allowed: false,
  code: 'POLICY_NO_ALLOW',
  detail: 'allow policies exist, but none allowed',
}

const DENIED: Verdict = { ...ALLOWED, allowed: false, code: 'POLICY_DENY' }
/** By what the user wrote. */
const DENIAL_DETAIL: Readonly<Record<DenialCode, (written: string) => string>> = {
  POLICY_DENY: (policy) => `explicitly denied by: ${policy}`,
  POLICY_NEEDS_L7: (policy) => `${policy} has to look into the connection, and no waypoint does`,
  WAYPOINT_BYPASS: (waypoint) => `only through the waypoint ${waypoint}`,
  PLAINTEXT_REFUSED: (policy) => `${policy} demands an identity`,
}

/** Compiles the policies that apply to one destination workload (MeshState.policiesFor). */
export function compilePolicies(policies: readonly Policy[]): PolicyIndex {
  return new PolicyIndex(policies)
}

/** Decides on one connection. */
export function evaluate(index: PolicyIndex, connection: AuthzConnection): Verdict {
  return index.evaluate(connection)
}

function deniedBy(policy: Policy): Verdict {
  const code = denialCode(policy.name)
  return { ...DENIED, code, policy: policyKey(policy), detail: DENIAL_DETAIL[code](writtenKey(policy)) }
}

/**
 * The keys under which a clause can be found: if every one of its matches demands an exact value of one kind, a
 * connection that satisfies the clause carries one of those values. Up to one option per kind.
 */
function keyOptions(clause: readonly CompiledMatch[]): Keys[] {
  const none: Keys = { principals: [], accounts: [], namespaces: [], ports: [] }
  const principals = clause.map((match) => exactOf(match.principals))
  const accounts = clause.map((match) => match.accounts)
  const namespaces = clause.map((match) => exactOf(match.namespaces))
  const ports = clause.map((match) => match.ports)
  const options: Keys[] = []
  if (isComplete(principals)) options.push({ ...none, principals: union(principals) })
  if (isComplete(accounts)) options.push({ ...none, accounts: union(accounts) })
  if (isComplete(namespaces)) options.push({ ...none, namespaces: union(namespaces) })
  if (isComplete(ports)) options.push({ ...none, ports: union(ports) })
  if (options.length > 0) return options
  const mixed = mixedKeys(clause)
  return mixed === undefined ? [] : [mixed]
}

/** Each match is found by the most telling kind it has; undefined when one has none. */
function mixedKeys(clause: readonly CompiledMatch[]): Keys | undefined {
  const principals = new Set<string>()
  const accounts = new Set<string>()
  const namespaces = new Set<string>()
  const ports = new Set<number>()
  for (const match of clause) {
    const principal = exactOf(match.principals)
    const namespace = exactOf(match.namespaces)
    if (principal !== null) addAll(principals, principal)
    else if (match.accounts !== null) addAll(accounts, match.accounts)
    else if (namespace !== null) addAll(namespaces, namespace)
    else if (match.ports !== null) addAll(ports, match.ports)
    else return undefined
  }
  return {
    principals: [...principals],
    accounts: [...accounts],
    namespaces: [...namespaces],
    ports: [...ports],
  }
}

function addAll<T>(into: Set<T>, values: Iterable<T>): void {
  for (const value of values) into.add(value)
}

function exactOf(
  set: { exact: ReadonlySet<string>; isExactOnly: boolean } | null,
): ReadonlySet<string> | null {
  return set?.isExactOnly ? set.exact : null
}

function isComplete<T>(sets: readonly (ReadonlySet<T> | null)[]): sets is readonly ReadonlySet<T>[] {
  return sets.every((set) => set !== null)
}

function union<T>(sets: readonly ReadonlySet<T>[]): T[] {
  return [...new Set(sets.flatMap((set) => [...set]))]
}

function flatten(keys: Keys): string[] {
  return [
    ...keys.principals.map((key) => `p${key}`),
    ...keys.accounts.map((key) => `a${key}`),
    ...keys.namespaces.map((key) => `n${key}`),
    ...keys.ports.map((key) => `d${key}`),
  ]
}

/** The option whose most crowded key has the fewest rules. */
function leastShared(options: readonly Keys[], counts: ReadonlyMap<string, number>): Keys | undefined {
  let best: Keys | undefined
  let bestCount = Number.POSITIVE_INFINITY
  for (const keys of options) {
    let crowd = 0
    for (const key of flatten(keys)) crowd = Math.max(crowd, counts.get(key) ?? 0)
    if (crowd >= bestCount) continue
    best = keys
    bestCount = crowd
  }
  return best
}

function append<K>(index: Map<K, CompiledRule[]>, key: K, rule: CompiledRule): void {
  const list = index.get(key)
  if (list === undefined) index.set(key, [rule])
  else list.push(rule)
}
