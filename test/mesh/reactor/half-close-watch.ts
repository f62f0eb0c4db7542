// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  type HalfClosePolicy,
  HalfCloseWatch,
  halfClosedKeepalive,
} from '../../../mesh/reactor/half-close-watch.ts'
import { DEFAULT_KEEPALIVE } from '../../../mesh/reactor/socket-options.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A watch of a connection whose bytes the test counts. */
function watched(timeoutMs: number) {
  const clock = new ManualClock()
  const seen = { clock, bytes: 0, lasting: 0, timeouts: 0 }
  const scheduler = {
    get nowMs() {
      return clock.passedMs
    },
    startTimer: (delayMs: number, callback: () => void) => clock.startTimer(delayMs, callback),
    atTurnEnd() {},
  } satisfies HalfClosePolicy['scheduler']
  const watch = new HalfCloseWatch(
    { scheduler, timeoutMs, keepalive: DEFAULT_KEEPALIVE },
    () => seen.bytes,
    () => seen.lasting++,
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
  t.equal(watch.stalledMs, 280_000, 'the look came some seconds after the byte')
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

t.test('one that lasts is told of once, one that ends at once is not', async (t) => {
  const { watch, seen } = watched(3_600_000)
  seen.clock.advance(19_999)
  t.equal(seen.lasting, 0)
  seen.clock.advance(1)
  t.equal(seen.lasting, 1)
  seen.clock.advance(600_000)
  t.equal(seen.lasting, 1)
  watch.stop()
  const brief = watched(10_000).seen
  brief.clock.advance(20_000)
  t.same([brief.lasting, brief.timeouts], [0, 1], 'its timeout was first')
})

t.test('peers are asked for at least every 20 s, and given up no sooner than else', async () => {
  const seconds = fc.integer({ min: 1, max: 180 })
  fc.assert(
    fc.property(seconds, seconds, fc.integer({ min: 1, max: 12 }), (idleSeconds, intervalSeconds, probes) => {
      const asked = halfClosedKeepalive({ idleSeconds, intervalSeconds, probes })
      const goneSeconds = asked.idleSeconds + asked.intervalSeconds * asked.probes
      const surplus = goneSeconds - (idleSeconds + intervalSeconds * probes)
      const isOften = asked.idleSeconds <= 20 && asked.intervalSeconds <= 20
      if (asked.probes === 127) return isOften && surplus < asked.intervalSeconds
      return isOften && asked.probes < 127 && surplus >= 0 && surplus < asked.intervalSeconds
    }),
  )
})

t.test(
  'what Istio’s settings become; more probes than the kernel takes are as many as it takes',
  async (t) => {
    t.same(halfClosedKeepalive(DEFAULT_KEEPALIVE), { idleSeconds: 20, intervalSeconds: 20, probes: 89 })
    t.same(halfClosedKeepalive({ idleSeconds: 7200, intervalSeconds: 75, probes: 9 }).probes, 127)
    const often = { idleSeconds: 5, intervalSeconds: 1, probes: 3 }
    t.same(halfClosedKeepalive(often), often)
  },
)
