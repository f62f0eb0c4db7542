// SPDX-License-Identifier: Apache-2.0
// The histograms of /metrics: how long connects, TLS handshakes and first answers took, in the form of OpenMetrics.
import { boundText } from '../mesh/telemetry/exposition.ts'
import { LATENCY_METRICS, type Latencies, latencySeries } from '../mesh/telemetry/latencies.ts'

const HELP: Readonly<Record<(typeof LATENCY_METRICS)[number], string>> = {
  connect: 'from the arrival of a connection until it could carry bytes',
  tls_handshake: 'TLS handshakes of tunnels, as client (source) and as server (destination)',
  first_byte:
    'from the first byte of the client, or the connect where the server speaks first, to the first byte of the server',
}

/** Families of all histograms; `''` before anything was measured. */
export function formatLatencies(workers: readonly Latencies[]): string {
  return LATENCY_METRICS.map((metric, index) => {
    const name = `sidestep_${metric}_duration_seconds`
    const samples = latencySeries(workers, index).flatMap(({ reporter, transport, buckets, sumSeconds }) => {
      const labels = `reporter="${reporter}",transport="${transport}"`
      return [
        ...buckets.map(
          ({ seconds, count }) => `${name}_bucket{${labels},le="${boundText(seconds)}"} ${count}`,
        ),
        `${name}_count{${labels}} ${buckets.at(-1)?.count ?? 0}`,
        `${name}_sum{${labels}} ${sumSeconds}`,
      ]
    })
    if (samples.length === 0) return ''
    return `# HELP ${name} ${HELP[metric]}\n# TYPE ${name} histogram\n# UNIT ${name} seconds\n${samples.join('\n')}\n`
  }).join('')
}
