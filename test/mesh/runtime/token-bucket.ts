// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { TokenBucket } from '../../../mesh/runtime/token-bucket.ts'

t.test('a burst, then the rate', async (t) => {
  const bucket = new TokenBucket({ capacity: 2, perSecond: 4 }, 1_000)
  t.equal(bucket.isFull(1_000), true)
  t.same([bucket.take(1_000), bucket.take(1_000), bucket.take(1_000)], [true, true, false])
  t.equal(bucket.hasToken(1_249), false)
  t.equal(bucket.hasToken(1_250), true)
  t.equal(bucket.take(1_250), true)
  t.equal(bucket.isFull(1_749), false)
  t.equal(bucket.isFull(1_750), true)
})

t.test('a clock that steps back gives nothing and takes nothing', async (t) => {
  const bucket = new TokenBucket({ capacity: 1, perSecond: 1 }, 10_000)
  t.equal(bucket.take(10_000), true)
  t.equal(bucket.take(0), false)
  t.equal(bucket.take(999), false)
  t.equal(bucket.take(1_000), true)
})

t.test('in no span of time more than the burst and the rate pass', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(700), { maxLength: 200 }), (pauses) => {
      const bucket = new TokenBucket({ capacity: 5, perSecond: 3 }, 0)
      let nowMs = 0
      let passed = 0
      for (const pause of pauses) {
        nowMs += pause
        if (bucket.take(nowMs)) passed++
      }
      return passed <= 5 + (nowMs / 1000) * 3 + 1e-6
    }),
  )
})
