// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  createRequestMemory,
  RequestCounterReader,
  RequestCounters,
} from '../../mesh/telemetry/request-counters.ts'
import { formatMetrics, type MeasuredApp } from '../../waypoint/metrics.ts'
import type { WorkerReport } from '../../waypoint/worker-messages.ts'

function page(reports: readonly WorkerReport[], snapshotMs = Number.NaN): string {
  const requests = new RequestCounterReader()
  const memory = createRequestMemory()
  const counters = new RequestCounters(memory, requests.addWorker(memory))
  counters.count(counters.slotOf('a="1"'), 30, 5, 7)
  const app = {
    secrets: { list: () => [{ identity: 'spiffe://x', certificate: { notAfterMs: 5_000 } }] },
    records: { lostCount: 4 },
    spans: { sentCount: 7, lostCount: 1 },
    snapshot: { unsavedCount: 0 },
    upgrades: { counts: { draining: 1, lost: 0, failed: 0 } },
    workers: { lostCount: 0, requests, counters: { sums: () => new Map() } },
    discoveryStatus: () => ({ disconnectedMs: 2_000, snapshotMs }),
  }
  return formatMetrics(app as unknown as MeasuredApp, reports, 20_000) // as: all that the page reads
}

t.test('requests are a counter and histograms of the same label sets', async (t) => {
  const lines = page([]).split('\n')
  for (const line of [
    'istio_requests_total{a="1"} 1',
    'istio_request_duration_milliseconds_bucket{a="1",le="25.0"} 0',
    'istio_request_duration_milliseconds_bucket{a="1",le="50.0"} 1',
    'istio_request_duration_milliseconds_bucket{a="1",le="+Inf"} 1',
    'istio_request_duration_milliseconds_count{a="1"} 1',
    'istio_request_duration_milliseconds_sum{a="1"} 30',
    'istio_request_bytes_sum{a="1"} 5',
    'istio_response_bytes_sum{a="1"} 7',
    'sidestep_certificate_expiry_seconds{identity="spiffe://x"} 5',
    'sidestep_controller_disconnected_seconds 2',
    'sidestep_records_dropped_total 4',
    'sidestep_spans_total{end="lost"} 1',
    'sidestep_draining_generations 1',
  ])
    t.ok(lines.includes(line), line)
  t.equal(lines.at(-2), '# EOF')
  t.notOk(lines.some((line) => line.startsWith('sidestep_snapshot_age')))
  t.ok(page([], 8_000).includes('\nsidestep_snapshot_age_seconds 12\n'))
})

t.test('what workers and their clusters count is summed', async (t) => {
  const clusters = [
    { overflowCount: 1, retryOverflowCount: 2, ejectionCount: 3 },
    { overflowCount: 10, retryOverflowCount: 20, ejectionCount: 30 },
  ] as unknown as WorkerReport['clusters'] // as: the sums are of these
  const report: WorkerReport = { clusters, tunnels: 1, exchanges: 2, retryTotal: 3, mirrorTotal: 4 }
  const lines = page([report, report]).split('\n')
  for (const line of [
    'sidestep_waypoint_tunnels 2',
    'sidestep_waypoint_exchanges 4',
    'sidestep_waypoint_retries_total 6',
    'sidestep_waypoint_mirrors_total 8',
    'sidestep_waypoint_overflow_total 22',
    'sidestep_waypoint_retry_overflow_total 44',
    'sidestep_waypoint_ejections_total 66',
  ])
    t.ok(lines.includes(line), line)
})
