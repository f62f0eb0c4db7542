// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { ALONE, nextRoundMs, TURN_MS, timeInTurns } from '../../../bench/load/turn.ts'

const turns = fc
  .integer({ min: 1, max: 6 })
  .chain((of) => fc.integer({ min: 0, max: of - 1 }).map((index) => ({ index, of })))
// Quarters: sums of them are exact.
const ownMs = fc.nat({ max: 400_000 }).map((quarters) => quarters / 4)

t.test('what is due comes in one’s own turn, in order, and nothing is moved within a turn', async (t) => {
  fc.assert(
    fc.property(turns, ownMs, ownMs, (turn, one, other) => {
      const at = timeInTurns(one, turn)
      if (Math.floor(at / TURN_MS) % turn.of !== turn.index) return false
      if (at % TURN_MS !== one % TURN_MS) return false
      return one > other || at <= timeInTurns(other, turn)
    }),
  )
  t.equal(timeInTurns(250, { index: 1, of: 3 }), 750)
})

t.test('who is alone has every turn, from now on', async (t) => {
  fc.assert(fc.property(ownMs, (ms) => timeInTurns(ms, ALONE) === ms))
  t.ok(Math.abs(nextRoundMs(ALONE) - performance.now()) < 50)
})

t.test('a round begins at the same moment for all', async (t) => {
  const clock = (): number => performance.timeOrigin + nextRoundMs({ index: 0, of: 4 })
  const [one, other] = [clock(), clock()]
  t.ok(Math.abs((one - other) % (4 * TURN_MS)) < 5, `${one} ${other}`)
})
