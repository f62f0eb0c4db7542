// SPDX-License-Identifier: Apache-2.0
// The page that is written from results.
import t from 'tap'
import { renderReport } from '../../bench/report.ts'
import { results, row } from '../support/bench-results.ts'

const page = renderReport(
  results({
    requests: {
      sidestep: row('a', [
        { requestsPerSecond: 50_000.4, cpuMicros: 20 },
        { requestsPerSecond: 48_000, cpuMicros: 21 },
        { requestsPerSecond: 52_000, cpuMicros: 19 },
      ]),
      ztunnel: row('a', [
        { requestsPerSecond: 40_000 },
        { requestsPerSecond: 40_000 },
        { requestsPerSecond: 40_000 },
      ]),
      envoy: row('b', [{ requestsPerSecond: 30_000 }]),
      direct: row('a', [], 'wrk: 1 unable | to\nconnect'),
    },
  }),
)

t.test('a figure is the median with least and most', (t) => {
  t.match(page, /^\| sidestep \| 50,000 \(48,000–52,000\) \| – \| – \| 20\.0 \(19\.0–21\.0\)/m)
  t.match(page, /^\| envoy \| 30,000 \|/m)
  t.end()
})

t.test('ratios name the peers of the same run only', (t) => {
  t.match(page, /^\| Sidestep ÷ \| ztunnel \|$/m)
  t.match(page, /^\| requests\/s \| 1\.25 \(1\.20–1\.30\) \|$/m)
  t.end()
})

t.test('gates say what was found', (t) => {
  t.match(page, /^\| requests\/s, against ztunnel \| gate \| ≥ 1\.2× \| 1\.25 \(1\.20–1\.30\)× \| pass \|$/m)
  t.match(page, /^\| requests\/s, against envoy \| goal \| ≥ 1\.5× \| – \| not measured together \|$/m)
  t.end()
})

t.test('every row says when and of what it was measured, and what went wrong', (t) => {
  t.match(page, /^- sidestep: 3 runs of 4 s, commit abc1234567, 2026-01-02$/m)
  t.match(page, /^- direct: 0 runs .*\*\*not measured in full\*\*: wrk: 1 unable \\\| to connect$/m)
  t.notMatch(page, /^\| direct \|/m)
  t.end()
})

t.test('questions that nobody asked have no section', (t) => {
  t.match(page, /^## Requests per second$/m)
  t.notMatch(page, /^## Bulk$/m)
  t.end()
})

t.test('a bulk bench whose own tools are slow says so', (t) => {
  const bulk = (gbit: number): string =>
    renderReport(results({ bulk: { direct: row('a', [{ gbitPerSecond1: gbit }]) } }))
  t.match(bulk(16.34), 'reach only 16.3 Gbit/s')
  t.notMatch(bulk(25), 'reach only')
  t.end()
})

t.test('a machine that was busy with other things is named in every row', (t) => {
  const busy = (busyPercent: number): string =>
    renderReport(results({ requests: { direct: { ...row('a', [{ requestsPerSecond: 1 }]), busyPercent } } }))
  t.match(busy(60), /^- direct: 1 run of 4 s, .*\*\*on a machine that was 60 % busy\*\*$/m)
  t.notMatch(busy(5), 'busy')
  t.end()
})

t.test('a subject that is not at hand is named in every question, with the reason', (t) => {
  const some = results({ bulk: { direct: row('a', [{ gbitPerSecond1: 30 }]) } })
  const ztunnel = { version: 'not at hand', settings: 'ZTUNNEL_BIN names no ztunnel', isMissing: true }
  t.match(
    renderReport({ ...some, subjects: { ztunnel } }),
    /^- ztunnel: not measured: ZTUNNEL_BIN names no ztunnel$/m,
  )
  t.end()
})
