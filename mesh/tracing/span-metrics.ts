// SPDX-License-Identifier: Apache-2.0
// What became of spans, as metrics of a process that traces.
import { family } from '../telemetry/exposition.ts'
import type { SpanExporter } from './span-exporter.ts'

/** '' where nobody traces. */
export function spanMetrics(exporter: Pick<SpanExporter, 'sentCount' | 'lostCount'> | null): string {
  if (exporter === null) return ''
  const { sentCount, lostCount } = exporter
  const counts = Object.entries({ sent: sentCount, lost: lostCount })
  const samples = counts.map(([end, count]) => `sidestep_spans_total{end="${end}"} ${count}`)
  return family('sidestep_spans', 'counter', 'spans that a collector has taken, and that were lost', samples)
}
