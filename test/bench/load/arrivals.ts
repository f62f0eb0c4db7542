// SPDX-License-Identifier: Apache-2.0
// Arrivals are random in their gaps and the same in every run.
import t from 'tap'
import { scheduleArrivals } from '../../../bench/load/arrivals.ts'

t.test('as many arrive as the rate says, in order, until the end', (t) => {
  const arrivals = scheduleArrivals(10_000, 2)
  t.ok(Math.abs(arrivals.length - 20_000) < 600, `${arrivals.length}`) // four standard deviations
  t.ok(arrivals.every((atMs, i) => atMs >= (arrivals[i - 1] ?? 0) && atMs < 2000))
  t.end()
})

t.test('gaps vary as much as their mean', (t) => {
  const arrivals = scheduleArrivals(1000, 10)
  const gaps = [...arrivals].map((atMs, i) => atMs - (arrivals[i - 1] ?? 0))
  const variance = gaps.reduce((sum, gap) => sum + (gap - 1) ** 2, 0) / gaps.length
  t.ok(variance > 0.8 && variance < 1.2, `${variance}`)
  t.end()
})

t.test('two runs meet the same arrivals', (t) => {
  t.same(scheduleArrivals(100, 1), scheduleArrivals(100, 1))
  t.end()
})
