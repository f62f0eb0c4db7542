// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { Split } from '../../../waypoint/decide/split.ts'

t.test('each gets its share, to the edge', async (t) => {
  const split = new Split([{ weight: 90 }, { weight: 0 }, { weight: 10 }])
  t.same(
    [0, 0.899, 0.9, 0.999].map((random) => split.pick(random)?.weight),
    [90, 90, 10, 10],
  )
  t.equal(new Split([{ weight: 0 }]).pick(0), null)
  t.equal(new Split([]).pick(0.5), null)
})

t.test('over all of chance the shares are the weights', async () => {
  const weights = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 6 })
  fc.assert(
    fc.property(weights, (all) => {
      const backends = all.map((weight, index) => ({ weight, index }))
      const split = new Split(backends)
      const total = all.reduce((sum, each) => sum + each, 0)
      const counts = all.map(() => 0)
      for (let at = 0; at < total; at++) {
        const { index = -1 } = split.pick((at + 0.5) / total) ?? {}
        counts[index] = (counts[index] ?? 0) + 1
      }
      return JSON.stringify(counts) === JSON.stringify(all)
    }),
  )
})
