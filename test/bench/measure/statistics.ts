// SPDX-License-Identifier: Apache-2.0
// Medians, ratios between neighbours, and whose turn it is.
import t from 'tap'
import {
  median,
  rotate,
  summarizeDifference,
  summarizeMetric,
  summarizeRatio,
} from '../../../bench/measure/statistics.ts'
import { row } from '../../support/bench-results.ts'

t.test('the median of an even count lies between the middle two', (t) => {
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.equal(median([9, 1, 5]), 5)
  t.ok(Number.isNaN(median([])))
  t.end()
})

t.test('a summary leaves out runs without the figure', (t) => {
  const one = row('a', [{ x: 3 }, {}, { x: 1 }, { x: Number.NaN }])
  t.same(summarizeMetric(one, 'x'), { median: 2, min: 1, max: 3, count: 2 })
  t.equal(summarizeMetric(one, 'y'), null)
  t.equal(summarizeMetric(undefined, 'x'), null)
  t.end()
})

t.test('a ratio is the median of the rounds, not the ratio of the medians', (t) => {
  // The machine was ten times slower in the second round.
  const ours = row('a', [{ x: 200 }, { x: 20 }, { x: 300 }])
  const theirs = row('a', [{ x: 100 }, { x: 10 }, { x: 300 }])
  t.same(summarizeRatio(ours, theirs, 'x'), { median: 2, min: 1, max: 2, count: 3 })
  t.end()
})

t.test('rows of different runs have no ratio, nor have rounds that only one has', (t) => {
  t.equal(summarizeRatio(row('a', [{ x: 2 }]), row('b', [{ x: 1 }]), 'x'), null)
  t.same(summarizeRatio(row('a', [{ x: 2 }, { x: 9 }]), row('a', [{ x: 1 }, {}]), 'x'), {
    median: 2,
    min: 2,
    max: 2,
    count: 1,
  })
  t.equal(summarizeRatio(row('a', [{ x: 2 }]), row('a', [{ x: 0 }]), 'x'), null)
  t.end()
})

t.test('a figure can be divided by another one of its round, and a peer’s taken from it', (t) => {
  const ours = row('a', [
    { x: 2, y: 4 },
    { x: 3, y: 9 },
  ])
  t.same(summarizeRatio(ours, ours, 'y', 'x'), { median: 2.5, min: 2, max: 3, count: 2 })
  const theirs = row('a', [{ x: 5 }, { x: 0 }])
  t.same(summarizeDifference(ours, theirs, 'x'), { median: 0, min: -3, max: 3, count: 2 })
  t.equal(summarizeDifference(ours, row('b', [{ x: 5 }]), 'x'), null)
  t.end()
})

t.test('everybody is first in one round', (t) => {
  t.same(rotate(['a', 'b', 'c'], 0), ['a', 'b', 'c'])
  t.same(rotate(['a', 'b', 'c'], 4), ['b', 'c', 'a'])
  t.same(rotate([], 3), [])
  t.end()
})
