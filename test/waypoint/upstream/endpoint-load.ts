// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isLessLoaded, Latency, type Load } from '../../../waypoint/upstream/endpoint-load.ts'
import { LATENCY_DECAY_MS } from '../../../waypoint/upstream/limits.ts'

function load(outstanding: number, latencyMs = -1, capacity = 1): Load {
  const latency = new Latency()
  if (latencyMs >= 0) latency.note(latencyMs, 0)
  return { outstanding, capacity, latency }
}

t.test('a slow answer counts at once, fast ones win trust back, what is old is forgotten', async (t) => {
  const latency = new Latency()
  t.equal(latency.averageMs(0), -1)
  latency.note(10, 0)
  t.equal(latency.averageMs(0), 10)
  latency.note(100, 0)
  t.equal(latency.averageMs(0), 100)
  for (let i = 0; i < 10; i++) latency.note(10, 0)
  t.ok(latency.averageMs(0) < 50, `${latency.averageMs(0)}`)
  t.ok(latency.averageMs(0) > 20)
  const before = latency.averageMs(0)
  t.ok(Math.abs(latency.averageMs(LATENCY_DECAY_MS) - before / Math.E) < 1e-9)
  latency.note(10, LATENCY_DECAY_MS * 20)
  t.equal(latency.averageMs(LATENCY_DECAY_MS * 20), 10)
  latency.note(5, 0)
  t.ok(latency.averageMs(0) >= 5, 'time that steps back does no harm')
})

t.test('fewer under way for the weight; latency only where it differs clearly', async (t) => {
  const cases: ReadonlyArray<readonly [Load, Load, boolean]> = [
    [load(0), load(1), true],
    [load(1), load(0), false],
    [load(1), load(1), false],
    [load(2, -1, 4), load(1), true],
    [load(0, 10), load(0, 15), false],
    [load(0, 15), load(0, 10), false],
    [load(0, 10), load(0, 100), true],
    [load(0, 100), load(0, 10), false],
    [load(0, 100), load(0), false],
    [load(3, 10), load(0, 100), true],
    [load(30, 10), load(0, 100), false],
    [load(0, 0.01), load(0, 0.9), false],
  ]
  for (const [index, [second, first, expected]] of cases.entries())
    t.equal(isLessLoaded(second, first, 0), expected, `case ${index}`)
})
