// SPDX-License-Identifier: Apache-2.0
// One rule of a policy, compiled so that long lists cost one look-up. Semantics: SPEC HBONE §4.4, "Match logic".
import type { Match, Rule, ServiceAccountMatch, StringMatch } from '../model/policy.ts'
import { CidrSet, parseCidr } from '../net/cidr.ts'
import type { AuthzConnection } from './connection.ts'

/** Strings by how they match. */
export class StringSet {
  readonly exact: ReadonlySet<string>
  /** True when only exact values are listed: the set can be indexed. */
  readonly isExactOnly: boolean
  readonly #prefixes: readonly string[]
  readonly #suffixes: readonly string[]
  readonly #hasPresence: boolean

  constructor(list: readonly StringMatch[]) {
    const valuesOf = (kind: 'exact' | 'prefix' | 'suffix'): string[] =>
      list.flatMap((each) => (each.kind === kind ? [each.value] : []))
    this.exact = new Set(valuesOf('exact'))
    this.#prefixes = valuesOf('prefix')
    this.#suffixes = valuesOf('suffix')
    this.#hasPresence = list.some(({ kind }) => kind === 'presence')
    this.isExactOnly = list.every(({ kind }) => kind === 'exact')
  }

  /** True when any member matches. */
  has(text: string): boolean {
    if (this.#hasPresence && text !== '') return true
    if (this.exact.has(text)) return true
    for (const prefix of this.#prefixes) if (text.startsWith(prefix)) return true
    for (const suffix of this.#suffixes) if (text.endsWith(suffix)) return true
    return false
  }
}

/** A match whose lists are compiled; null = no constraint. */
export class CompiledMatch {
  readonly principals: StringSet | null
  readonly notPrincipals: StringSet | null
  readonly namespaces: StringSet | null
  readonly notNamespaces: StringSet | null
  readonly accounts: ReadonlySet<string> | null
  readonly notAccounts: ReadonlySet<string> | null
  readonly sources: CidrSet | null
  readonly notSources: CidrSet | null
  readonly destinations: CidrSet | null
  readonly notDestinations: CidrSet | null
  readonly ports: ReadonlySet<number> | null
  readonly notPorts: ReadonlySet<number> | null

  constructor(match: Match) {
    this.principals = strings(match.principals)
    this.notPrincipals = strings(match.notPrincipals)
    this.namespaces = strings(match.namespaces)
    this.notNamespaces = strings(match.notNamespaces)
    this.accounts = accounts(match.serviceAccounts)
    this.notAccounts = accounts(match.notServiceAccounts)
    this.sources = cidrs(match.sourceIps)
    this.notSources = cidrs(match.notSourceIps)
    this.destinations = cidrs(match.destinationIps)
    this.notDestinations = cidrs(match.notDestinationIps)
    this.ports = ports(match.destinationPorts)
    this.notPorts = ports(match.notDestinationPorts)
  }

  /** AND over the attribute kinds; each: positive list empty or hit, negative list without hit. */
  matches(connection: AuthzConnection): boolean {
    return (
      this.#matchesPort(connection.destinationPort) &&
      this.#matchesIdentity(connection) &&
      this.#matchesAddresses(connection)
    )
  }

  #matchesPort(port: number): boolean {
    return (
      (this.ports === null || this.ports.has(port)) && (this.notPorts === null || !this.notPorts.has(port))
    )
  }

  #matchesIdentity(connection: AuthzConnection): boolean {
    const { hasIdentity, principal, namespace } = connection
    // No identity is never a hit, so that `notPrincipals: [presence]` means plaintext.
    if (this.principals !== null && !(hasIdentity && this.principals.has(principal))) return false
    if (this.notPrincipals !== null && hasIdentity && this.notPrincipals.has(principal)) return false
    if (this.namespaces !== null && !this.namespaces.has(namespace)) return false
    if (this.notNamespaces?.has(namespace)) return false
    if (this.accounts !== null && !(hasIdentity && this.accounts.has(connection.accountKey))) return false
    return !(this.notAccounts !== null && hasIdentity && this.notAccounts.has(connection.accountKey))
  }

  #matchesAddresses(connection: AuthzConnection): boolean {
    if (this.sources !== null && !this.sources.contains(connection.sourceBytes)) return false
    if (this.notSources?.contains(connection.sourceBytes)) return false
    if (this.destinations !== null && !this.destinations.contains(connection.destinationBytes)) return false
    return !this.notDestinations?.contains(connection.destinationBytes)
  }
}

/** One rule with where it comes from. */
export class CompiledRule {
  /** Position of its policy among those compiled: the first that matches decides. */
  readonly ordinal: number
  readonly policyKey: string
  /** AND of OR. A clause of the policy that had only empty matches makes the rule impossible. */
  readonly clauses: readonly (readonly CompiledMatch[])[]
  readonly isImpossible: boolean

  constructor(ordinal: number, policyKey: string, rule: Rule) {
    this.ordinal = ordinal
    this.policyKey = policyKey
    // SPEC HBONE §4.4: a clause with no matches is true, so it says nothing.
    const speaking = rule.filter((clause) => clause.length > 0)
    // SPEC HBONE §4.4: an entirely empty match is skipped; a clause of only such matches is false.
    this.clauses = speaking.map((clause) =>
      clause.filter((match) => !isEmptyMatch(match)).map((match) => new CompiledMatch(match)),
    )
    this.isImpossible = this.clauses.some(({ length }) => length === 0)
  }
}

/** True when a match constrains nothing. */
export function isEmptyMatch(match: Match): boolean {
  return Object.values(match).every(({ length }) => length === 0)
}

function strings(list: readonly StringMatch[]): StringSet | null {
  return list.length === 0 ? null : new StringSet(list)
}

function accounts(list: readonly ServiceAccountMatch[]): ReadonlySet<string> | null {
  return list.length === 0 ? null : new Set(list.map((each) => `${each.namespace}/${each.serviceAccount}`))
}

// A text that is no prefix stays in a set that never hits: dropping the list would mean "no constraint".
function cidrs(list: readonly string[]): CidrSet | null {
  if (list.length === 0) return null
  return new CidrSet(list.map(parseCidr).filter((cidr) => cidr !== undefined))
}

function ports(list: readonly number[]): ReadonlySet<number> | null {
  return list.length === 0 ? null : new Set(list)
}
