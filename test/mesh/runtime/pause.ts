// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Pause } from '../../../mesh/runtime/pause.ts'
import { ManualClock } from '../../support/manual-clock.ts'

t.test('a pause ends after its time, or when it is woken, and leaves no timer', async (t) => {
  const clock = new ManualClock()
  const pause = new Pause(clock)
  pause.wake()
  let hasEnded = false
  const first = pause.wait(100).then(() => (hasEnded = true))
  clock.advance(99)
  await Promise.resolve()
  t.equal(hasEnded, false)
  clock.advance(1)
  await first
  const second = pause.wait(1_000)
  pause.wake()
  await second
  t.equal(clock.pendingCount, 0)
})
