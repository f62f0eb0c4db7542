// SPDX-License-Identifier: Apache-2.0
// Metrics of what only the supervisor of the node sees.
import type { NodeHealth, ReasonCounts } from '../mesh/generations/node-health.ts'
import { family, gauge } from '../mesh/telemetry/exposition.ts'

const byReason = (name: string, counts: ReasonCounts): string[] =>
  Object.entries(counts).map(([reason, count]) => `${name}{reason="${reason}"} ${count}`)

/** The families; none of what is not configured. */
export function nodeHealthMetrics({ agent, notEnrolled }: NodeHealth): string[] {
  return [
    ...(agent === null ? [] : agentMetrics(agent)),
    ...(notEnrolled === null ? [] : [notEnrolledMetric(notEnrolled)]),
  ]
}

function notEnrolledMetric(counts: ReasonCounts): string {
  const help =
    'pods of the node that belong to the mesh and could not be enrolled, by reason: they speak plain text'
  return family('sidestep_pods_not_enrolled', 'gauge', help, byReason('sidestep_pods_not_enrolled', counts))
}

function agentMetrics({ isSynced, failures }: NonNullable<NodeHealth['agent']>): string[] {
  return [
    gauge('sidestep_zds_synced', '1: the CNI agent is connected and has named all pods', Number(isSynced)),
    family(
      'sidestep_zds_failures',
      'counter',
      'connections to the CNI agent (ZDS) that ended or could not be made, by reason',
      byReason('sidestep_zds_failures_total', failures),
    ),
  ]
}
