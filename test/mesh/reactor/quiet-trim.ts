// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { QUIET_MS, QuietTrim } from '../../../mesh/reactor/quiet-trim.ts'
import { ManualClock } from '../../support/manual-clock.ts'

t.test('a burst is followed by one collection, and small changes by none', async (t) => {
  const clock = new ManualClock()
  let heap = 40_000_000
  let busyMs = 0
  let trims = 0
  const trim = new QuietTrim(clock, {
    heapBytes: () => heap,
    busyMs: () => busyMs,
    trim: () => {
      trims++
      heap -= 20_000_000
    },
  })
  for (let change = 0; change < 5; change++) {
    trim.onWork()
    clock.advance(QUIET_MS - 1)
  }
  t.equal(trims, 0, 'not while it lasts')
  clock.advance(1)
  t.equal(trims, 1)
  heap += 1_000_000
  trim.onWork()
  clock.advance(QUIET_MS)
  t.equal(trims, 1, 'a heap that hardly grew')
  heap += 20_000_000
  trim.onWork()
  clock.advance(QUIET_MS)
  t.equal(trims, 2)
  busyMs += 100
  trim.onWork()
  clock.advance(QUIET_MS)
  t.equal(trims, 3, 'much was done: what it left outside the heap')
  t.equal(clock.pendingCount, 0, 'nothing goes on by itself')
})
