// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Backoff } from '../../../mesh/runtime/backoff.ts'

t.test('delays double up to the ceiling and start again after reset', async (t) => {
  const backoff = new Backoff({ initialMs: 500, maxMs: 3000, random: () => 0.5 })
  t.same(
    [backoff.next(), backoff.next(), backoff.next(), backoff.next(), backoff.next()],
    [500, 1000, 2000, 3000, 3000],
  )
  backoff.reset()
  t.equal(backoff.next(), 500)
})

t.test('jitter spreads both ways and never passes the ceiling', async (t) => {
  const low = new Backoff({ initialMs: 1000, maxMs: 1100, random: () => 0 })
  const high = new Backoff({ initialMs: 1000, maxMs: 1100, random: () => 0.999999 })
  t.equal(low.next(), 800)
  t.equal(high.next(), 1100)
})
