// SPDX-License-Identifier: Apache-2.0
// What a policy does, as one sentence for people. It says no more than the policy: what it makes of a connection is explain.ts.
import type { Clause, Match, Policy, Rule } from '../model/policy.ts'
import { valuesText } from './explain.ts'
import { isEmptyMatch } from './match.ts'

/** Rules that are told of one policy; the others are counted. */
const MAX_TOLD_RULES = 5
const VERBS = { Allow: 'allow', Deny: 'refuse' } as const
/** In the order they are told. */
const NAMES: Readonly<Record<keyof Match, string>> = {
  principals: 'identity',
  notPrincipals: 'identity not',
  serviceAccounts: 'service account',
  notServiceAccounts: 'service account not',
  namespaces: 'namespace',
  notNamespaces: 'namespace not',
  sourceIps: 'from',
  notSourceIps: 'not from',
  destinationIps: 'to',
  notDestinationIps: 'not to',
  destinationPorts: 'port',
  notDestinationPorts: 'port not',
}

/** `refuses identity cluster.local/ns/shop/sa/batch, port 8080`; one that is a dry run `would refuse …`. */
export function describePolicy({ action, dryRun, rules }: Policy): string {
  const verb = dryRun ? `would ${VERBS[action]}` : `${VERBS[action]}s`
  const told = rules.slice(0, MAX_TOLD_RULES).map(ruleText)
  const more = rules.length > told.length ? ` or ${rules.length - told.length} more rules` : ''
  return `${verb} ${told.length === 0 ? 'nobody' : told.join(' or ')}${more}`
}

/** The semantics are those of CompiledRule. */
function ruleText(rule: Rule): string {
  const clauses = rule.filter((clause) => clause.length > 0).map(clauseText)
  if (clauses.includes('')) return 'nobody'
  return clauses.length === 0 ? 'anybody' : clauses.join(' and ')
}

/** '' for one that is never true. */
function clauseText(clause: Clause): string {
  const matches = clause.filter((match) => !isEmptyMatch(match)).map(matchText)
  return matches.length > 1 ? `(${matches.join(' or ')})` : (matches[0] ?? '')
}

function matchText(match: Match): string {
  const fields = Object.keys(NAMES) as (keyof Match)[] // as: its own keys
  const speaking = fields.filter((field) => match[field].length > 0)
  const isPlain = match.notPrincipals.some(({ kind }) => kind === 'presence')
  return speaking
    .map((field) =>
      field === 'notPrincipals' && isPlain ? 'no identity' : `${NAMES[field]} ${valuesText(match, field)}`,
    )
    .join(', ')
}
