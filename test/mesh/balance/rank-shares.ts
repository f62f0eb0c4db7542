// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { rankShares } from '../../../mesh/balance/rank-shares.ts'

const percent = (...ranks: readonly [number, number][]): number[] =>
  rankShares(ranks.map(([healthy, total]) => ({ healthy, total }))).map((share) => Math.round(share * 100))

t.test('the shares that Envoy’s documentation gives for healthy parts of two and three levels', async (t) => {
  t.same(percent([100, 100], [100, 100]), [100, 0])
  t.same(percent([72, 100], [72, 100]), [100, 0])
  t.same(percent([71, 100], [71, 100]), [99, 1])
  t.same(percent([50, 100], [60, 100]), [70, 30])
  t.same(percent([25, 100], [100, 100]), [35, 65])
  t.same(percent([0, 100], [100, 100]), [0, 100])
  t.same(percent([25, 100], [25, 100]), [50, 50], 'too few everywhere: in proportion')
  t.same(percent([20, 100], [20, 100], [10, 100]), [40, 40, 20])
  t.same(percent([0, 5], [0, 5]), [0, 0])
  t.same(percent([0, 0], [1, 1]), [0, 100])
  t.same(percent(), [])
})

t.test('shares add up to one unless nobody is healthy', async (t) => {
  const rank = fc.nat(20).chain((total) => fc.record({ healthy: fc.nat(total), total: fc.constant(total) }))
  fc.assert(
    fc.property(fc.array(rank, { maxLength: 5 }), (ranks) => {
      const shares = rankShares(ranks)
      const sum = shares.reduce((all, share) => all + share, 0)
      const isAnybody = ranks.some(({ healthy }) => healthy > 0)
      const isFair = shares.every((share, i) => share >= 0 && (share === 0 || (ranks[i]?.healthy ?? 0) > 0))
      return isFair && (isAnybody ? Math.abs(sum - 1) < 1e-9 : sum === 0)
    }),
  )
  t.pass()
})
