// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  HEARTBEAT_INTERVAL_MS,
  Heartbeat,
  START_WITHIN_MS,
  STUCK_AFTER_MS,
} from '../../../mesh/reactor/heartbeat.ts'

/** Looks that find `turns` until the worker is given up. */
function looksUntilStuck(heartbeat: Heartbeat, turns: number): number {
  for (let looks = 1; looks < 1000; looks++) if (heartbeat.look(turns) !== null) return looks
  return Number.POSITIVE_INFINITY
}

t.test('who turns lives; who stands still is given up after so many looks', async (t) => {
  const heartbeat = new Heartbeat()
  for (let turns = 1; turns <= 100; turns++) t.equal(heartbeat.look(turns), null)
  t.equal(heartbeat.look(-5), null, 'a counter that has come round')
  t.equal(looksUntilStuck(heartbeat, -5), STUCK_AFTER_MS / HEARTBEAT_INTERVAL_MS + 1)
  t.equal(heartbeat.look(-5), STUCK_AFTER_MS)
  t.equal(heartbeat.look(-4), null, 'it turns again')
  t.equal(looksUntilStuck(heartbeat, -4), STUCK_AFTER_MS / HEARTBEAT_INTERVAL_MS + 1)
})

t.test('a worker that starts has longer', async (t) => {
  const heartbeat = new Heartbeat()
  t.equal(looksUntilStuck(heartbeat, 0), START_WITHIN_MS / HEARTBEAT_INTERVAL_MS + 1)
  t.equal(heartbeat.look(0), START_WITHIN_MS)
})
