// SPDX-License-Identifier: Apache-2.0
// Gates and goals are judged by medians, and only by figures that exist.
import t from 'tap'
import { GOALS, judgeGoals } from '../../bench/goals.ts'
import { METRICS } from '../../bench/questions/metrics.ts'
import { results, row } from '../support/bench-results.ts'

const verdicts = (questions: Parameters<typeof results>[0]): Record<string, string> =>
  Object.fromEntries(
    judgeGoals(results(questions)).map(({ goal, verdict }) => [`${goal.kind} ${goal.label}`, verdict]),
  )

t.test('every goal asks for a figure that its question has', (t) => {
  for (const { question, metric, comparison } of GOALS) {
    const keys = METRICS[question].map(({ key }) => key)
    if (comparison.as === 'growth') t.ok(keys.includes(comparison.base), `${question} ${comparison.base}`)
    t.ok(keys.includes(metric), `${question} ${metric}`)
  }
  t.end()
})

t.test('a ratio between gate and goal passes one and misses the other', (t) => {
  const found = verdicts({
    requests: {
      sidestep: row('a', [{ requestsPerSecond: 125, cpuMicros: 7 }]),
      ztunnel: row('a', [{ requestsPerSecond: 100, cpuMicros: 10 }]),
    },
  })
  t.equal(found['gate requests/s, against ztunnel'], 'pass')
  t.equal(found['goal requests/s, against ztunnel'], 'miss')
  t.equal(found['gate CPU per request, against ztunnel'], 'pass')
  t.equal(found['goal CPU per request, against ztunnel'], 'miss')
  t.equal(found['goal requests/s, against envoy'], 'open')
  t.end()
})

t.test('a figure of our own is judged without a peer, exactly at the limit it passes', (t) => {
  const found = verdicts({ memory: { sidestep: row('a', [{ streamKb: 6, tunnelKb: 40.1, idleMb: 90 }]) } })
  t.equal(found['gate memory per idle stream'], 'pass')
  t.equal(found['gate memory per idle tunnel'], 'miss')
  t.equal(found['gate data process, idle'], 'pass')
  t.end()
})

t.test('what we add, and what grows, is taken between runs of one round', (t) => {
  const found = verdicts({
    neighbour: {
      direct: row('a', [{ p99MicrosAlone: 300 }, { p99MicrosAlone: 900 }]),
      sidestep: row('a', [
        { p99MicrosAlone: 480, p99MicrosBeside: 600 },
        { p99MicrosAlone: 1120, p99MicrosBeside: 1500 },
      ]),
    },
    rules: { sidestep: row('a', [{ cpuMicros10: 100, cpuMicros10000: 111 }]) },
  })
  t.equal(found['goal p99 added at 1,000 requests/s'], 'pass', '0.2 ms')
  t.equal(found['goal p99 beside a neighbour that moves data'], 'miss', '1.25 and 1.34')
  t.equal(found['goal CPU per connection, 10 → 10,000 rules'], 'miss')
  t.end()
})
