// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Lead } from '../../controller/lead.ts'
import { ManualClock } from '../support/manual-clock.ts'

t.test('a lead ends by itself, is told once, and is over before its timer knows', async (t) => {
  const clock = new ManualClock()
  let nowMs = 0
  const told: (string | null)[] = []
  const lead = new Lead(
    clock,
    () => nowMs,
    (fence) => told.push(fence),
  )
  t.equal(lead.fence, null)
  lead.hold('1', 1_000)
  lead.hold('1', 2_000)
  t.equal(lead.fence, '1')
  nowMs = 2_000
  t.equal(lead.fence, null, 'the process slept: its timers have not fired')
  t.same(told, ['1'])
  clock.advance(2_000)
  t.same(told, ['1', null])
  lead.hold('2', 3_000)
  lead.end()
  lead.end()
  t.same(told, ['1', null, '2', null])
  t.equal(clock.pendingCount, 0)
})
