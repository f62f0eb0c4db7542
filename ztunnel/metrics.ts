// SPDX-License-Identifier: Apache-2.0
// The metrics page: Istio's TCP metrics summed over the workers, and the process's own health. Written as OpenMetrics
// text directly from shared memory: a registry of objects would double what is already counted.
import { readdirSync } from 'node:fs'
import { readDescriptorLimit } from '../mesh/runtime/descriptor-limit.ts'
import { TRAFFIC_METRICS } from '../mesh/telemetry/counters.ts'
import { counter, family, gauge } from '../mesh/telemetry/exposition.ts'
import { spanMetrics } from '../mesh/tracing/span-metrics.ts'
import type { App } from './app.ts'
import { formatLatencies } from './latency-metrics.ts'
import { nodeHealthMetrics } from './node-health-metrics.ts'

const HELP: Readonly<Record<(typeof TRAFFIC_METRICS)[number], string>> = {
  istio_tcp_connections_opened: 'connections opened',
  istio_tcp_connections_closed: 'connections closed',
  istio_tcp_connections_failed: 'connections that ended with a reason other than OK',
  istio_tcp_received_bytes: 'bytes from client to server',
  istio_tcp_sent_bytes: 'bytes from server to client',
  istio_dns_requests:
    'DNS questions of pods by their end: answered, forwarded to the resolver the pod chose, failed with a reason',
}

/** Open handles of each worker and kind: what a leak in native memory would show in. */
function nativeHandles(app: App): string[] {
  return app.workers.openHandles.flatMap((handles, worker) =>
    Object.entries(handles ?? {}).map(
      ([kind, count]) => `sidestep_native_handles{worker="${worker}",kind="${kind}"} ${count}`,
    ),
  )
}

function revocationLists({ revocations }: App): string[] {
  const lists = revocations.status()
  const overdue = lists.filter(({ isOverdue }) => isOverdue).length
  const counts = { current: lists.length - overdue, overdue, undecided: revocations.undecidedCount }
  return Object.entries(counts).map(
    ([state, count]) => `sidestep_revocation_lists{state="${state}"} ${count}`,
  )
}

function guardRefusals({ guard, pods }: App): string[] {
  return pods.flatMap(({ uid, namespace, name }) => {
    const count = guard.counts.get(uid)
    const labels = `namespace="${namespace}",pod="${name}"`
    return count === undefined ? [] : [`sidestep_guard_refused_total{${labels}} ${count}`]
  })
}

function podRefusals({ workers, pods }: App): string {
  const samples = pods.flatMap(({ uid, namespace, name }) =>
    Object.entries(workers.accounts.refusals(uid)).flatMap(([limit, count]) =>
      count === 0
        ? []
        : [`sidestep_pod_refused_total{namespace="${namespace}",pod="${name}",limit="${limit}"} ${count}`],
    ),
  )
  const help =
    'connections refused because of a limit, by pod and limit: connections, connection-rate, handshake-rate, node (little left)'
  return family('sidestep_pod_refused', 'counter', help, samples)
}

function maxDescriptors(): string {
  const soft = readDescriptorLimit()
  return soft === null ? 'NaN' : Number.isFinite(soft) ? String(soft) : '+Inf'
}

function modelSource({ sources: { model }, snapshot }: App): string[] {
  const { snapshotAgeSeconds, disconnectedSeconds } = model
  const optional = (name: string, help: string, value: number | null): string =>
    value === null ? '' : gauge(name, help, value)
  return [
    optional(
      'sidestep_snapshot_age_seconds',
      'age of the saved configuration that is in force because no controller answers; absent while one does',
      snapshotAgeSeconds,
    ),
    optional(
      'sidestep_controller_disconnected_seconds',
      'since no controller answers; 0 while one does, absent on a node that follows none',
      disconnectedSeconds,
    ),
    gauge(
      'sidestep_snapshot_unsaved',
      'parts of what a start without a controller needs (configuration, certificates) that the disk does not take',
      snapshot.unsavedCount,
    ),
  ]
}

function connectRetries({ retries }: App): string {
  return family(
    'sidestep_connect_retries',
    'counter',
    'connects that went on to another endpoint, by what the one before failed of',
    [...retries].map(([reason, count]) => `sidestep_connect_retries_total{reason="${reason}"} ${count}`),
  )
}

function processes({ upgrades: { counts }, workers }: App): string[] {
  return [
    counter('sidestep_workers_lost', 'reactor workers that ended unexpectedly', workers.lostCount),
    gauge(
      'sidestep_draining_generations',
      'data processes before this one whose connections end',
      counts.draining,
    ),
    counter(
      'sidestep_generations_lost',
      'data processes that broke while their connections ended',
      counts.lost,
    ),
    counter('sidestep_upgrades_failed', 'data processes that never came to serve', counts.failed),
  ]
}

function traffic({ workers }: App): string[] {
  return TRAFFIC_METRICS.map((name, metric) => {
    const samples = [...workers.counters.sums(metric)].map(
      ([labels, sum]) => `${name}_total{${labels}} ${sum}`,
    )
    return family(name, 'counter', HELP[name], samples)
  })
}

/** The whole page. */
export function formatMetrics(app: App): string {
  const node = app.sources.nodeCertificate()
  const expiries = [...app.secrets.list(), ...(node === null ? [] : [node])].flatMap(
    ({ identity, certificate }) =>
      certificate === null
        ? []
        : [
            `sidestep_certificate_expiry_seconds{identity="${identity}"} ${Math.round(certificate.notAfterMs / 1000)}`,
          ],
  )
  return [
    ...traffic(app),
    formatLatencies(app.workers.latencies),
    family('sidestep_certificate_expiry_seconds', 'gauge', 'end of validity, Unix time', expiries),
    family(
      'sidestep_certificates_in_trouble',
      'gauge',
      'certificates not renewed in time, by how near their end is, revoked, and not presented by a worker (not-live)',
      Object.entries(app.certificateWatch.counts()).map(
        ([kind, count]) => `sidestep_certificates_in_trouble{kind="${kind}"} ${count}`,
      ),
    ),
    family(
      'istio_crl_policy_rejections',
      'counter',
      'peers turned away, or cut off, because their certificate is revoked',
      Object.entries(app.revokedPeers).map(
        ([reporter, count]) => `istio_crl_policy_rejections_total{reporter="${reporter}"} ${count}`,
      ),
    ),
    connectRetries(app),
    counter(
      'sidestep_grace_connections',
      'tunnels that stand although the certificate of the peer has expired (certificateGraceDays)',
      app.grace.connectionCount,
    ),
    family(
      'sidestep_revocation_lists',
      'gauge',
      'revocation lists that are current, past their end and yet in force (overdue), signed by no root of this node (undecided)',
      revocationLists(app),
    ),
    ...modelSource(app),
    ...nodeHealthMetrics(app.nodeHealth),
    spanMetrics(app.spans),
    counter('sidestep_records_dropped', 'connection records lost', app.records.lostCount),
    counter(
      'sidestep_redirections_mended',
      'pods whose redirection was damaged and is whole again',
      app.mended.count,
    ),
    family(
      'sidestep_guard_refused',
      'counter',
      'plaintext connections to strict pods that were refused on the node, before they reached the pod',
      guardRefusals(app),
    ),
    podRefusals(app),
    ...processes(app),
    counter('sidestep_messages_dropped', 'messages between threads lost', app.workers.droppedMessageCount),
    family(
      'sidestep_native_handles',
      'gauge',
      'native objects a reactor worker holds, by kind',
      nativeHandles(app),
    ),
    gauge('workload_manager_active_proxy_count', 'pods served', app.pods.length),
    gauge('process_open_fds', 'open file descriptors', readdirSync('/proc/self/fd').length),
    gauge('process_max_fds', 'file descriptors the process may open', maxDescriptors()),
    gauge('process_resident_memory_bytes', 'resident set size', process.memoryUsage.rss()),
    '# EOF\n',
  ].join('')
}
