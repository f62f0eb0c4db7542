// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { hash32, nextHash } from '../../../mesh/balance/hash.ts'

t.test('a text has the same number in every version: sessions depend on it', async (t) => {
  t.same(
    ['', 'a', 'user-17', 'größe'].map(hash32),
    [2_872_998_923, 444_641_715, 1_487_493_897, 2_538_389_087],
  )
  t.equal(nextHash(hash32('a'), 3), 486_351_761)
})

t.test('numbers are spread: of texts that differ by a digit each sixteenth has its share', async (t) => {
  const buckets = new Array<number>(16).fill(0)
  for (let i = 0; i < 16_000; i++) {
    const bucket = hash32(`user-${i}`) >>> 28
    buckets[bucket] = (buckets[bucket] ?? 0) + 1
  }
  t.ok(Math.min(...buckets) > 850, `least ${Math.min(...buckets)}`)
  t.ok(Math.max(...buckets) < 1150, `most ${Math.max(...buckets)}`)
  const following = new Set(Array.from({ length: 10_000 }, (_, i) => nextHash(hash32('a'), i)))
  t.equal(following.size, 10_000)
})
