// SPDX-License-Identifier: Apache-2.0
// The metrics page of a waypoint: Istio's metrics of requests and connections, and how its upstreams and the process fare.
// Written as OpenMetrics text directly from what is counted.
import { TRAFFIC_METRICS } from '../mesh/telemetry/counters.ts'
import { boundText, counter, family, gauge } from '../mesh/telemetry/exposition.ts'
import { REQUEST_BUCKETS, REQUEST_METRICS } from '../mesh/telemetry/request-counters.ts'
import { spanMetrics } from '../mesh/tracing/span-metrics.ts'
import type { App } from './app.ts'
import type { WorkerReport } from './worker-messages.ts'

const REQUEST_HELP: Readonly<Record<(typeof REQUEST_METRICS)[number], string>> = {
  istio_request_duration_milliseconds: 'from the head of a request until its answer has ended',
  istio_request_bytes: 'sizes of the bodies of requests',
  istio_response_bytes: 'sizes of the bodies of answers',
}
const TRAFFIC_HELP: Readonly<Record<(typeof TRAFFIC_METRICS)[number], string>> = {
  istio_tcp_connections_opened: 'connections carried as bytes, told at their end',
  istio_tcp_connections_closed: 'connections carried as bytes that have ended',
  istio_tcp_connections_failed: 'connections of bytes that ended with a reason other than OK',
  istio_tcp_received_bytes: 'bytes from client to server of connections carried as bytes',
  istio_tcp_sent_bytes: 'bytes from server to client of connections carried as bytes',
  istio_dns_requests: '',
}

/** As much of the app as the page tells. */
export type MeasuredApp = Pick<
  App,
  'secrets' | 'records' | 'snapshot' | 'spans' | 'upgrades' | 'workers' | 'discoveryStatus'
>

function requests({ workers: { requests: reader } }: MeasuredApp): string[] {
  const histograms = reader.histograms()
  const totals = (histograms[0] ?? []).map(
    ({ labels, counts }) => `istio_requests_total{${labels}} ${counts.at(-1) ?? 0}`,
  )
  const bounds = [...REQUEST_BUCKETS, Number.POSITIVE_INFINITY].map(boundText)
  return [
    family('istio_requests', 'counter', 'requests that have ended', totals),
    ...REQUEST_METRICS.map((name, metric) => {
      const samples = (histograms[metric] ?? []).flatMap(({ labels, counts, sum }) => [
        ...bounds.map((bound, bucket) => `${name}_bucket{${labels},le="${bound}"} ${counts[bucket] ?? 0}`),
        `${name}_count{${labels}} ${counts.at(-1) ?? 0}`,
        `${name}_sum{${labels}} ${sum}`,
      ])
      return family(name, 'histogram', REQUEST_HELP[name], samples)
    }),
  ]
}

function traffic({ workers: { counters } }: MeasuredApp): string[] {
  return TRAFFIC_METRICS.map((name, metric) => {
    const samples = [...counters.sums(metric)].map(([labels, sum]) => `${name}_total{${labels}} ${sum}`)
    return family(name, 'counter', TRAFFIC_HELP[name], samples)
  })
}

/** What workers say of themselves; of clusters the sums. A worker that is replaced begins again at 0. */
function upstreams(workers: readonly WorkerReport[]): string[] {
  const clusters = workers.flatMap((each) => each.clusters)
  const sum = <Each>(all: readonly Each[], of: (each: Each) => number): number =>
    all.reduce((total, each) => total + of(each), 0)
  return [
    gauge(
      'sidestep_waypoint_tunnels',
      'tunnels of callers',
      sum(workers, ({ tunnels }) => tunnels),
    ),
    gauge(
      'sidestep_waypoint_exchanges',
      'requests under way',
      sum(workers, ({ exchanges }) => exchanges),
    ),
    counter(
      'sidestep_waypoint_retries',
      'attempts after the first of a request',
      sum(workers, ({ retryTotal }) => retryTotal),
    ),
    counter(
      'sidestep_waypoint_retry_overflow',
      'requests not tried again because too many were',
      sum(clusters, ({ retryOverflowCount }) => retryOverflowCount),
    ),
    counter(
      'sidestep_waypoint_overflow',
      'requests refused because a limit of connections or requests to a service was reached',
      sum(clusters, ({ overflowCount }) => overflowCount),
    ),
    counter(
      'sidestep_waypoint_ejections',
      'endpoints that a worker put out of use for a while because they failed',
      sum(clusters, ({ ejectionCount }) => ejectionCount),
    ),
    counter(
      'sidestep_waypoint_mirrors',
      'copies of requests that were begun',
      sum(workers, ({ mirrorTotal }) => mirrorTotal),
    ),
  ]
}

function certificates({ secrets }: MeasuredApp): string {
  const samples = secrets.list().flatMap(({ identity, certificate }) => {
    const labels = `identity="${identity}"`
    if (certificate === null) return []
    return [`sidestep_certificate_expiry_seconds{${labels}} ${Math.round(certificate.notAfterMs / 1000)}`]
  })
  return family('sidestep_certificate_expiry_seconds', 'gauge', 'end of validity, Unix time', samples)
}

function processes({ upgrades: { counts }, workers }: MeasuredApp): string[] {
  return [
    counter('sidestep_workers_lost', 'reactor workers that ended unexpectedly', workers.lostCount),
    gauge(
      'sidestep_draining_generations',
      'data processes before this one whose requests end',
      counts.draining,
    ),
    counter('sidestep_generations_lost', 'data processes that broke while their requests ended', counts.lost),
    counter('sidestep_upgrades_failed', 'data processes that never came to serve', counts.failed),
  ]
}

/** The whole page. `nowMs` is epoch ms. */
export function formatMetrics(app: MeasuredApp, reports: readonly WorkerReport[], nowMs: number): string {
  const { disconnectedMs, snapshotMs } = app.discoveryStatus()
  return [
    ...requests(app),
    ...traffic(app),
    ...upstreams(reports),
    certificates(app),
    gauge(
      'sidestep_controller_disconnected_seconds',
      'since no controller answers; 0 while one does',
      Math.round((disconnectedMs ?? 0) / 1000),
    ),
    Number.isNaN(snapshotMs)
      ? ''
      : gauge(
          'sidestep_snapshot_age_seconds',
          'age of the saved configuration that is in force because no controller answers; absent while one does',
          Math.max(0, Math.round((nowMs - snapshotMs) / 1000)),
        ),
    gauge(
      'sidestep_snapshot_unsaved',
      'parts of what a start without a controller needs (configuration, certificates) that the disk does not take',
      app.snapshot.unsavedCount,
    ),
    counter('sidestep_records_dropped', 'records of requests lost', app.records.lostCount),
    spanMetrics(app.spans),
    ...processes(app),
    gauge('process_resident_memory_bytes', 'resident set size', process.memoryUsage.rss()),
    '# EOF\n',
  ].join('')
}
