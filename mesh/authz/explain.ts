// SPDX-License-Identifier: Apache-2.0
// Why a connection was allowed or not, for people: the deciding policy or the rule that came nearest, the field
// that differed and what to change. Slow and thorough; never on a connection's path.
import { EMPTY_MATCH, type Match, type Policy, policyKey } from '../model/policy.ts'
import { type DenialCode, writtenKey } from '../model/reserved-policy.ts'
import type { AuthzConnection } from './connection.ts'
import type { Verdict } from './evaluate.ts'
import { CompiledMatch, isEmptyMatch } from './match.ts'

/** A field of a match that a connection does not satisfy. */
export interface Difference {
  readonly field: keyof Match
  /** What the rule says. */
  readonly expected: string
  /** What the connection has. */
  readonly actual: string
}

/** The rule that lacked least. Indexes count from 0. */
export interface NearestRule {
  readonly policy: string
  readonly rule: number
  readonly differences: readonly Difference[]
}

export interface Explanation {
  readonly verdict: Verdict
  /** Set when no ALLOW matched and there is a rule at all. */
  readonly nearest: NearestRule | null
  /** One sentence. */
  readonly reason: string
  /** What to change; '' when nothing is wrong. */
  readonly fix: string
}

const FIELDS: readonly (keyof Match)[] = [
  ...([
    'principals',
    'serviceAccounts',
    'namespaces',
    'destinationPorts',
    'sourceIps',
    'destinationIps',
  ] as const),
  ...(['notPrincipals', 'notServiceAccounts', 'notNamespaces', 'notDestinationPorts'] as const),
  ...(['notSourceIps', 'notDestinationIps'] as const),
]
/** What the user wrote that refuses `caller`, and what may be done. */
const DENIALS: Readonly<
  Record<DenialCode, (written: string, caller: string, way: string) => Pick<Explanation, 'reason' | 'fix'>>
> = {
  POLICY_DENY: (policy, caller, way) => ({
    reason: `the DENY policy ${policy} matches ${caller} from ${way}`,
    fix: `change ${policy} so that it leaves out ${caller}`,
  }),
  POLICY_NEEDS_L7: (policy, caller, way) => ({
    reason: `the policy ${policy} has to look into what ${caller} sends from ${way}, and no waypoint does`,
    fix: `give the destination a waypoint that enforces ${policy}, or take its layer 7 conditions away`,
  }),
  WAYPOINT_BYPASS: (waypoint, caller, way) => ({
    reason: `${caller} goes round the waypoint ${waypoint} from ${way}`,
    fix: `call the service instead of its pods: it leads through ${waypoint}`,
  }),
  PLAINTEXT_REFUSED: (policy, caller, way) => ({
    reason: `${policy} demands an identity, and ${caller} comes from ${way}`,
    fix: 'enrol the calling workload',
  }),
}

/** Explains a verdict that `policies` gave on `connection`. */
export function explain(
  policies: readonly Policy[],
  connection: AuthzConnection,
  verdict: Verdict,
): Explanation {
  const caller = connection.hasIdentity ? connection.principal : 'a caller without identity'
  const to = `port ${connection.destinationPort}`
  if (verdict.code !== 'OK' && verdict.code !== 'POLICY_NO_ALLOW') {
    const policy = policies.find((each) => policyKey(each) === verdict.policy)
    const written = policy === undefined ? '' : writtenKey(policy)
    return {
      verdict,
      nearest: null,
      ...DENIALS[verdict.code](written, caller, `${connection.sourceIp} to ${to}`),
    }
  }
  if (verdict.allowed) {
    const reason =
      verdict.policy === null
        ? 'no DENY policy matches and no ALLOW policy applies to the destination'
        : `the ALLOW policy ${verdict.policy} matches`
    return { verdict, nearest: null, reason, fix: '' }
  }
  const nearest = nearestRule(policies, connection)
  if (nearest === null) {
    const names = policies.filter(isEnforcedAllow).map(policyKey).join(', ')
    const reason = `the ALLOW policies ${names} have no rule that could match`
    return { verdict, nearest, reason, fix: `add a rule for ${caller} to one of them` }
  }
  const [first] = nearest.differences
  const where = `rule ${nearest.rule} of ${nearest.policy}`
  const reason = `no ALLOW policy matches ${caller} to ${to}; nearest is ${where}: ${textOf(first)}`
  return { verdict, nearest, reason, fix: fixOf(where, first) }
}

function isEnforcedAllow({ action, dryRun }: Policy): boolean {
  return action === 'Allow' && !dryRun
}

function nearestRule(policies: readonly Policy[], connection: AuthzConnection): NearestRule | null {
  let best: NearestRule | null = null
  for (const policy of policies.filter(isEnforcedAllow)) {
    for (const [index, rule] of policy.rules.entries()) {
      const speaking = rule.filter((clause) => clause.length > 0)
      const perClause = speaking.map((clause) => leastDifferences(clause, connection))
      if (perClause.some((differences) => differences === null)) continue
      const differences = perClause.flatMap((each) => each ?? [])
      if (best !== null && differences.length >= best.differences.length) continue
      best = { policy: policyKey(policy), rule: index, differences }
    }
  }
  return best
}

/** The differences of the match that lacks least; null for a clause that can never be true. */
function leastDifferences(clause: readonly Match[], connection: AuthzConnection): Difference[] | null {
  let best: Difference[] | null = null
  for (const match of clause) {
    if (isEmptyMatch(match)) continue
    const differences = differencesOf(match, connection)
    if (best === null || differences.length < best.length) best = differences
  }
  return best
}

function differencesOf(match: Match, connection: AuthzConnection): Difference[] {
  return FIELDS.flatMap((field) => {
    if (match[field].length === 0) return []
    // Each list alone, through the same code that decides: an explanation cannot disagree with a verdict.
    const isSatisfied = new CompiledMatch({ ...EMPTY_MATCH, [field]: match[field] }).matches(connection)
    return isSatisfied
      ? []
      : [{ field, expected: valuesText(match, field), actual: actualOf(field, connection) }]
  })
}

/** The values of a field of a match, those beyond five counted. */
export function valuesText(match: Match, field: keyof Match): string {
  const texts = match[field].map((entry) => {
    if (typeof entry !== 'object') return String(entry)
    if ('serviceAccount' in entry) return `${entry.namespace}/${entry.serviceAccount}`
    if (entry.kind === 'presence') return 'any'
    const { kind, value } = entry
    return kind === 'prefix' ? `${value}*` : kind === 'suffix' ? `*${value}` : value
  })
  return texts.length > 5 ? `${texts.slice(0, 5).join(', ')} and ${texts.length - 5} more` : texts.join(', ')
}

function actualOf(field: keyof Match, connection: AuthzConnection): string {
  const identity = (text: string): string => (connection.hasIdentity ? text : 'no identity')
  if (field === 'principals' || field === 'notPrincipals') return identity(connection.principal)
  if (field === 'serviceAccounts' || field === 'notServiceAccounts') return identity(connection.accountKey)
  if (field === 'namespaces' || field === 'notNamespaces') return identity(connection.namespace)
  if (field === 'sourceIps' || field === 'notSourceIps') return connection.sourceIp
  if (field === 'destinationIps' || field === 'notDestinationIps') return connection.destinationIp
  return String(connection.destinationPort)
}

function textOf(difference: Difference | undefined): string {
  if (difference === undefined) return 'it matches'
  const { field, expected, actual } = difference
  return `${field} has ${expected}, the connection has ${actual}`
}

function fixOf(where: string, difference: Difference | undefined): string {
  if (difference === undefined) return ''
  const { field, actual } = difference
  if (field.startsWith('not')) return `remove ${actual} from ${field} in ${where}`
  return actual === 'no identity' ? 'enrol the calling workload' : `add ${actual} to ${field} in ${where}`
}
