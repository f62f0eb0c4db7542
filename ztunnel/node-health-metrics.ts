// SPDX-License-Identifier: Apache-2.0
// Metrics of what only the supervisor of the node sees.
import type {
  ConntrackReading,
  NodeHealth,
  PodConntrack,
  ReasonCounts,
} from '../mesh/generations/node-health.ts'
import { counter, family, gauge } from '../mesh/telemetry/exposition.ts'

const byReason = (name: string, counts: ReasonCounts): string[] =>
  Object.entries(counts).map(([reason, count]) => `${name}{reason="${reason}"} ${count}`)

/** The families; none of what is not configured. */
export function nodeHealthMetrics({ agent, notEnrolled, conntrack, podConntrack }: NodeHealth): string[] {
  return [
    ...(conntrack === null ? [] : conntrackMetrics(conntrack)),
    ...podConntrackMetrics(podConntrack),
    ...(agent === null ? [] : agentMetrics(agent)),
    ...(notEnrolled === null ? [] : [notEnrolledMetric(notEnrolled)]),
  ]
}

function conntrackMetrics({ entryCount, maxEntries, lostCount }: ConntrackReading): string[] {
  return [
    gauge('sidestep_conntrack_entries', 'connections the kernel keeps for the node', entryCount),
    gauge(
      'sidestep_conntrack_max_entries',
      'connections it may keep; 0: no limit. For each pod as well',
      maxEntries,
    ),
    counter('sidestep_conntrack_lost', 'packets or connections lost because that table was full', lostCount),
  ]
}

function podConntrackMetrics(tables: readonly PodConntrack[]): string[] {
  const samples = (name: string, value: (table: PodConntrack) => number): string[] =>
    tables.map((table) => `${name}{namespace="${table.namespace}",pod="${table.pod}"} ${value(table)}`)
  return [
    family(
      'sidestep_pod_conntrack_entries',
      'gauge',
      'connections the kernel keeps for a pod: of pods whose own table is full, or has lost something',
      samples('sidestep_pod_conntrack_entries', ({ entryCount }) => entryCount),
    ),
    family(
      'sidestep_pod_conntrack_lost',
      'counter',
      'packets or connections of the pod lost because that table was full',
      samples('sidestep_pod_conntrack_lost_total', ({ lostCount }) => lostCount),
    ),
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
