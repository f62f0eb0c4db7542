// SPDX-License-Identifier: Apache-2.0
// The authorization rules written down a second time, straight from SPEC HBONE §4.4, without index, compilation or
// shared code: the oracle of the property test. Each mutation is one plausible mistake the test must notice.
import { BlockList, isIPv6 } from 'node:net'
import type { Match, Policy, ServiceAccountMatch, StringMatch } from '../../mesh/model/policy.ts'

/** One connection in plain words. */
export interface NaiveConnection {
  readonly sourceIp: string
  readonly identity: { trustDomain: string; namespace: string; serviceAccount: string } | null
  readonly destinationIp: string
  readonly destinationPort: number
}

/** The destination workload. */
export interface NaiveDestination {
  readonly namespace: string
  readonly authorizationPolicies: readonly string[]
}

export interface NaiveVerdict {
  readonly allowed: boolean
  readonly code: string
  readonly policy: string | null
  readonly dryRunDeny: string | null
  readonly dryRunAllow: string | null
}

/** Mistakes one could make. */
export const MUTATIONS = [
  'allow-before-deny',
  'no-rules-matches-everything',
  'no-clauses-matches-nothing',
  'empty-clause-is-false',
  'empty-match-is-true',
  'clauses-are-ored',
  'matches-are-anded',
  'negative-list-ignored',
  'dry-run-is-enforced',
  'missing-identity-is-a-hit',
  'no-allow-policy-denies',
  'only-namespace-policies',
  'selector-policies-apply-unnamed',
  'service-account-without-namespace',
  'prefix-is-suffix',
  'presence-matches-empty',
  'principal-with-scheme',
  'attributes-are-ored',
] as const
export type Mutation = (typeof MUTATIONS)[number] | null

/** Evaluates the policies of the whole mesh for one destination. */
export function naiveVerdict(
  all: readonly Policy[],
  destination: NaiveDestination,
  connection: NaiveConnection,
  mutation: Mutation = null,
): NaiveVerdict {
  const set = all.filter((policy) => {
    if (policy.scope === 'Global') return mutation !== 'only-namespace-policies'
    if (policy.scope === 'Namespace' && policy.namespace === destination.namespace) return true
    if (policy.scope === 'WorkloadSelector' && mutation === 'selector-policies-apply-unnamed') return true
    return destination.authorizationPolicies.includes(`${policy.namespace}/${policy.name}`)
  })
  const matching = (action: 'Allow' | 'Deny', dryRun: boolean): string | null => {
    for (const policy of set) {
      const isDryRun = mutation === 'dry-run-is-enforced' ? false : policy.dryRun
      if (policy.action !== action || isDryRun !== dryRun) continue
      if (policyMatches(policy, connection, mutation)) return `${policy.namespace}/${policy.name}`
    }
    return null
  }
  // In the order of names is not the same as in the order given: ties are decided by the set's own order.
  const dryRunDeny = matching('Deny', true)
  const dryRunAllow = matching('Allow', true)
  const deny = matching('Deny', false)
  const allow = matching('Allow', false)
  const hasAllow = set.some(
    ({ action, dryRun }) => action === 'Allow' && (mutation === 'dry-run-is-enforced' || !dryRun),
  )
  const dry = { dryRunDeny, dryRunAllow }
  if (mutation === 'allow-before-deny' && allow !== null)
    return { allowed: true, code: 'OK', policy: allow, ...dry }
  if (deny !== null) return { allowed: false, code: 'POLICY_DENY', policy: deny, ...dry }
  if (!hasAllow && mutation !== 'no-allow-policy-denies')
    return { allowed: true, code: 'OK', policy: null, ...dry }
  if (allow !== null) return { allowed: true, code: 'OK', policy: allow, ...dry }
  return { allowed: false, code: 'POLICY_NO_ALLOW', policy: null, ...dry }
}

function policyMatches(policy: Policy, connection: NaiveConnection, mutation: Mutation): boolean {
  if (policy.rules.length === 0) return mutation === 'no-rules-matches-everything'
  return policy.rules.some((rule) => {
    if (rule.length === 0) return mutation !== 'no-clauses-matches-nothing'
    const results = rule.map((clause) => clauseMatches(clause, connection, mutation))
    return mutation === 'clauses-are-ored' ? results.some(Boolean) : results.every(Boolean)
  })
}

function clauseMatches(clause: readonly Match[], connection: NaiveConnection, mutation: Mutation): boolean {
  if (clause.length === 0) return mutation !== 'empty-clause-is-false'
  const results = clause.map((match) => {
    const isEmpty = Object.values(match).every((list: readonly unknown[]) => list.length === 0)
    if (isEmpty) return mutation === 'empty-match-is-true'
    return matchMatches(match, connection, mutation)
  })
  return mutation === 'matches-are-anded' ? results.every(Boolean) : results.some(Boolean)
}

function matchMatches(match: Match, connection: NaiveConnection, mutation: Mutation): boolean {
  const { identity } = connection
  const scheme = mutation === 'principal-with-scheme' ? 'spiffe://' : ''
  const principal =
    identity === null
      ? null
      : `${scheme}${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`
  const missing = mutation === 'missing-identity-is-a-hit'
  const isPrincipal = (each: StringMatch): boolean =>
    principal === null ? missing : stringMatches(each, principal, mutation)
  const isNamespace = (each: StringMatch): boolean =>
    stringMatches(each, identity === null ? '' : identity.namespace, mutation)
  const isAccount = (each: ServiceAccountMatch): boolean => {
    if (identity === null) return missing
    const isSameNamespace =
      each.namespace === identity.namespace || mutation === 'service-account-without-namespace'
    return isSameNamespace && each.serviceAccount === identity.serviceAccount
  }
  const kinds = [
    attribute(match.principals, match.notPrincipals, isPrincipal, mutation),
    attribute(match.namespaces, match.notNamespaces, isNamespace, mutation),
    attribute(match.serviceAccounts, match.notServiceAccounts, isAccount, mutation),
    attribute(match.sourceIps, match.notSourceIps, (each) => inCidr(each, connection.sourceIp), mutation),
    attribute(
      match.destinationIps,
      match.notDestinationIps,
      (each) => inCidr(each, connection.destinationIp),
      mutation,
    ),
    attribute(
      match.destinationPorts,
      match.notDestinationPorts,
      (each) => each === connection.destinationPort,
      mutation,
    ),
  ]
  return mutation === 'attributes-are-ored' ? kinds.some(Boolean) : kinds.every(Boolean)
}

function attribute<T>(
  positive: readonly T[],
  negative: readonly T[],
  isHit: (each: T) => boolean,
  mutation: Mutation,
): boolean {
  const isPositive = positive.length === 0 || positive.some(isHit)
  const isNegative = mutation !== 'negative-list-ignored' && negative.some(isHit)
  return isPositive && !isNegative
}

function stringMatches(matcher: StringMatch, text: string, mutation: Mutation): boolean {
  if (matcher.kind === 'presence') return text !== '' || mutation === 'presence-matches-empty'
  if (matcher.kind === 'exact') return text === matcher.value
  const isPrefix = (matcher.kind === 'prefix') !== (mutation === 'prefix-is-suffix')
  return isPrefix ? text.startsWith(matcher.value) : text.endsWith(matcher.value)
}

function inCidr(cidr: string, ip: string): boolean {
  const [network = '', length = ''] = cidr.split('/')
  const list = new BlockList()
  list.addSubnet(network, Number(length), isIPv6(network) ? 'ipv6' : 'ipv4')
  return list.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4')
}
