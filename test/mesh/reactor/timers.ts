// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_SLEEP_MS, TimerWheel } from '../../../mesh/reactor/timers.ts'
import { grownOldBytes } from '../../support/old-space.ts'

t.test('timers fire in order of time, not before it, and once', async (t) => {
  const wheel = new TimerWheel(0)
  const fired: string[] = []
  wheel.start(0, 50, () => fired.push('b'))
  wheel.start(0, 20, () => fired.push('a'))
  wheel.start(0, 20_000, () => fired.push('late'))
  wheel.fireDue(19)
  t.same(fired, [])
  wheel.fireDue(20)
  t.same(fired, ['a'])
  wheel.fireDue(60)
  wheel.fireDue(5120) // one round of the wheel: the late timer shares slots with earlier ones
  t.same(fired, ['a', 'b'])
  wheel.fireDue(20_000)
  t.same(fired, ['a', 'b', 'late'])
  t.equal(wheel.pendingCount, 0)
})

t.test('a cancelled timer never fires, also when cancelled by another of the same tick', async (t) => {
  const wheel = new TimerWheel(0)
  const fired: number[] = []
  const timers = [1, 2].map((id) =>
    wheel.start(0, 10, () => {
      fired.push(id)
      for (const timer of timers) timer.cancel()
    }),
  )
  wheel.fireDue(100)
  t.equal(fired.length, 1)
  t.equal(wheel.pendingCount, 0)
})

t.test('a timer that restarts itself waits for the next tick', async (t) => {
  const wheel = new TimerWheel(0)
  let count = 0
  const again = (): void => {
    count++
    wheel.start(10 * count, 0, again)
  }
  wheel.start(0, 0, again)
  wheel.fireDue(50)
  t.equal(count, 5)
})

t.test('the loop sleeps until the next timer, a second at most', async (t) => {
  const wheel = new TimerWheel(0)
  t.equal(wheel.sleepMs(0), MAX_SLEEP_MS)
  wheel.start(0, 300, () => {})
  t.equal(wheel.sleepMs(0), 300)
  t.equal(wheel.sleepMs(290), 10)
  const far = new TimerWheel(0)
  far.start(0, 60_000, () => {})
  t.equal(far.sleepMs(0), MAX_SLEEP_MS)
})

t.test('a cancelled timer keeps none of those that came after it', async (t) => {
  const wheel = new TimerWheel(0)
  let latest = wheel.start(0, 5000, () => {})
  const grown = grownOldBytes(200_000, () => {
    const next = wheel.start(0, 5000, () => {})
    latest.cancel()
    latest = next
  })
  t.ok(grown < 2_000_000, `${grown} bytes`)
})
