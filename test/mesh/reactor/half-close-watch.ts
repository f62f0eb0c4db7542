// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type HalfClosePolicy, HalfCloseWatch } from '../../../mesh/reactor/half-close-watch.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A watch of a connection whose bytes the test counts. */
function watched(timeoutMs: number) {
  const clock = new ManualClock()
  const seen = { clock, bytes: 0, timeouts: 0 }
  const scheduler = {
    get nowMs() {
      return clock.passedMs
    },
    startTimer: (delayMs: number, callback: () => void) => clock.startTimer(delayMs, callback),
    atTurnEnd() {},
  } satisfies HalfClosePolicy['scheduler']
  const watch = new HalfCloseWatch(
    { scheduler, timeoutMs },
    () => seen.bytes,
    () => seen.timeouts++,
  )
  return { watch, seen }
}

t.test('a connection that moves nothing ends once, at its time', async (t) => {
  const { seen } = watched(3_600_000)
  seen.clock.advance(3_599_999)
  t.equal(seen.timeouts, 0)
  seen.clock.advance(1)
  t.equal(seen.timeouts, 1)
  t.equal(seen.clock.pendingCount, 0, 'nothing is left of it')
})

t.test('a byte now and then keeps it, and the time counts from the look that saw the last', async (t) => {
  const { watch, seen } = watched(600_000)
  for (let minute = 0; minute < 60; minute += 5) {
    seen.bytes++
    seen.clock.advance(300_000)
    t.equal(seen.timeouts, 0)
  }
  t.equal(watch.stalledMs, 240_000, 'the look came a minute after the byte')
  seen.bytes++
  t.equal(watch.stalledMs, 0)
  seen.clock.advance(660_000)
  t.equal(seen.timeouts, 1)
})

t.test('without a timeout it says for how long nothing has moved, and ends nothing', async (t) => {
  const { watch, seen } = watched(Number.POSITIVE_INFINITY)
  seen.clock.advance(86_400_000)
  t.equal(seen.timeouts, 0)
  t.equal(watch.stalledMs, 86_400_000)
  watch.stop()
  t.equal(seen.clock.pendingCount, 0)
})
