// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Latencies, Round } from '../../../bench/added/measure.ts'
import { addedMs, renderPage, risePercent } from '../../../bench/added/page.ts'

const latencies = (direct: number, sidestep: number): Latencies =>
  new Map([
    ['direct', { p50: direct / 2, p99: direct }],
    ['sidestep', { p50: sidestep / 2, p99: sidestep }],
  ])
const ROUNDS: readonly Round[] = [
  { load: 0.1, alone: latencies(400, 500), beside: new Map([['sidestep', latencies(600, 600)]]) },
  { load: 0.2, alone: latencies(400, 700), beside: new Map([['sidestep', latencies(400, 1400)]]) },
]
const RUN = {
  ...{ cores: 2, cpu: 'a processor', node: 'v24.0.0', commit: 'abc', seconds: 8 },
  ...{ requestsPerSecond: 1000, gbitPerSecond: 1 },
}

t.test('what is added is the difference of one round, what rises its share', async (t) => {
  t.same(addedMs(ROUNDS, 'sidestep', 'p99'), [0.1, 0.3])
  t.same(addedMs(ROUNDS, 'sidestep', 'p50'), [0.05, 0.15])
  t.same(
    risePercent(ROUNDS, 'sidestep', 'sidestep', 'p99').map((percent) => Math.round(percent)),
    [20, 100],
  )
  t.same(
    risePercent(ROUNDS, 'direct', 'sidestep', 'p99').map((percent) => Math.round(percent)),
    [50, 0],
  )
})

t.test('a goal is reached when every round reaches it', async (t) => {
  const missed = renderPage(ROUNDS, RUN)
  t.match(missed, /added by sidestep: p99, ms \| 0\.100 \| 0\.300 \| ≤ 0\.2 \| \*\*missed\*\*/)
  t.match(missed, /through sidestep: its p99 rises by, % \| 20 \| 100 \| < 25 \| \*\*missed\*\*/)
  const reached = renderPage(ROUNDS.slice(0, 1), RUN)
  t.match(reached, /added by sidestep: p99, ms \| 0\.100 \| ≤ 0\.2 \| reached/)
  t.match(reached, /rises by, % \| 20 \| < 25 \| reached/)
})
