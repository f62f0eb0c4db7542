// SPDX-License-Identifier: Apache-2.0
// What the status of a policy says: whether it is enforced as written, by whom, for how many workloads, and what was
// found wrong with it. Pure.
import type { ConfigFinding, PolicyEnforcement } from '../translate/translation.ts'
import { conditionOf, ENFORCED } from './conditions.ts'
import type { Reach } from './reach.ts'
import type { WantedCondition } from './status-patch.ts'

const MAX_TOLD_FINDINGS = 3 // in one message; /findings of admin has them all
const MAX_TOLD_WAYPOINTS = 5 // in one message

/** The condition of one policy; `reach` is null where no ztunnel is named. */
export function policyCondition(
  enforcement: PolicyEnforcement,
  reach: Reach | null,
  findings: readonly ConfigFinding[],
): WantedCondition {
  const { message, waypoints } = enforcement
  const told = findingTexts(findings)
  // A finding says the same, and what to do.
  const isTold = findings.slice(0, MAX_TOLD_FINDINGS).some((each) => each.message.includes(message))
  const by = waypoints.length === 0 ? '' : `: ${listText(waypoints, MAX_TOLD_WAYPOINTS)}`
  const where = reach === null ? '' : ` (${reachText(reach)})`
  return conditionOf(ENFORCED, reasonOf(enforcement), isTold ? '' : `${message}${by}${where}`, ...told)
}

function reasonOf({ kind, caveat }: PolicyEnforcement): keyof typeof ENFORCED.reasons {
  if (kind === 'nowhere') return 'Nowhere'
  if (caveat === 'dry-run') return 'DryRun'
  if (kind === 'exact') return 'Exact'
  return caveat === 'unreadable' ? 'RefusedInvalid' : 'RefusedNeedsL7'
}

function reachText({ workloads, nodes, outside }: Reach): string {
  const inside =
    workloads === 0 ? 'no workload' : `${counted(workloads, 'workload')} on ${counted(nodes, 'node')}`
  return outside === 0 ? inside : `${inside}; ${outside} more outside the mesh, where nothing is enforced`
}

function findingTexts(findings: readonly ConfigFinding[]): string[] {
  const told = findings.slice(0, MAX_TOLD_FINDINGS).map(({ code, path, message, fix }) => {
    const place = path === '' ? '' : ` at ${path}`
    return `${code}${place}: ${message} (${fix})`
  })
  const left = findings.length - told.length
  return left === 0 ? told : [...told, `and ${left} more findings`]
}

function listText(names: readonly string[], max: number): string {
  const left = names.length - max
  return names.slice(0, max).join(', ') + (left > 0 ? ` and ${left} more` : '')
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
