// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { CONNECT, Latencies, TLS_HANDSHAKE } from '../../mesh/telemetry/latencies.ts'
import { formatLatencies } from '../../ztunnel/latency-metrics.ts'

t.test('histograms as Prometheus reads them', async (t) => {
  const latencies = new Latencies()
  t.equal(formatLatencies([latencies]), '')
  latencies.observe(CONNECT, true, true, 1)
  latencies.observe(CONNECT, true, true, 3)
  latencies.observe(TLS_HANDSHAKE, false, true, 1)
  const lines = formatLatencies([latencies]).split('\n')
  const name = 'sidestep_connect_duration_seconds'
  const labels = 'reporter="source",transport="HBONE"'
  t.equal(lines[1], `# TYPE ${name} histogram`)
  t.same(lines.slice(3, 8), [
    `${name}_bucket{${labels},le="0.0005"} 0`,
    `${name}_bucket{${labels},le="0.001"} 1`,
    `${name}_bucket{${labels},le="0.0025"} 1`,
    `${name}_bucket{${labels},le="0.005"} 2`,
    `${name}_bucket{${labels},le="0.01"} 2`,
  ])
  t.ok(lines.includes(`${name}_bucket{${labels},le="1.0"} 2`))
  t.ok(lines.includes(`${name}_bucket{${labels},le="+Inf"} 2`))
  t.ok(lines.includes(`${name}_count{${labels}} 2`))
  t.ok(lines.includes(`${name}_sum{${labels}} 0.004`))
  t.equal(
    lines.filter((line) => line.startsWith('# TYPE ')).length,
    2,
    'what was never measured is not there',
  )
})
