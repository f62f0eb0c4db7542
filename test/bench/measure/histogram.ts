// SPDX-License-Identifier: Apache-2.0
// Quantiles against the exact ones of the sorted values.
import fc from 'fast-check'
import t from 'tap'
import { Histogram } from '../../../bench/measure/histogram.ts'

t.test('quantiles are at most 1.6 % above the exact ones and never below', (t) => {
  const micros = fc.oneof(fc.nat(200), fc.nat(100_000), fc.nat(2_000_000_000))
  fc.assert(
    fc.property(
      fc.array(micros, { minLength: 1, maxLength: 200 }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      (values, share) => {
        const histogram = new Histogram()
        for (const value of values) histogram.record(value)
        const sorted = [...values].sort((a, b) => a - b)
        const exact = sorted[Math.max(1, Math.ceil(share * values.length)) - 1] ?? 0
        const found = histogram.quantile(share)
        return found >= exact && found <= exact * 1.016
      },
    ),
  )
  t.end()
})

t.test('small values are exact, the largest is never exceeded', (t) => {
  const histogram = new Histogram()
  for (const value of [0, 1, 127, 128, 1_000_001]) histogram.record(value)
  t.equal(histogram.quantile(0.2), 0)
  t.equal(histogram.quantile(0.6), 127)
  t.equal(histogram.quantile(1), 1_000_001)
  t.equal(histogram.maxMicros, 1_000_001)
  t.equal(histogram.count, 5)
  t.end()
})

t.test('fractions count as their whole part, negative values as nothing', (t) => {
  const histogram = new Histogram()
  histogram.record(7.9)
  histogram.record(-3)
  t.equal(histogram.quantile(1), 7)
  t.equal(histogram.quantile(0.5), 0)
  t.end()
})

t.test('an empty histogram has no quantile, an absurd value the last bucket', (t) => {
  const histogram = new Histogram()
  t.ok(Number.isNaN(histogram.quantile(0.5)))
  histogram.record(2 ** 50)
  t.ok(histogram.quantile(0.5) > 2 ** 36)
  t.end()
})
