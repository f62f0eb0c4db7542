// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { ManualScheduler } from '../../../mesh/reactor/memory-pair.ts'
import { choose, SHED_DELAY_MS, SHED_SPREAD_MS, Shedding } from '../../../waypoint/accept/shedding.ts'

t.test('so many of a list, nobody twice, rather one more', async (t) => {
  fc.assert(
    fc.property(fc.nat({ max: 200 }), fc.double({ min: 0, max: 1, noNaN: true }), (length, part) => {
      const list = Array.from({ length }, (_, index) => index)
      const chosen = choose(list, part, Math.random)
      return (
        chosen.length === Math.ceil(length * part) &&
        new Set(chosen).size === chosen.length &&
        chosen.every((each) => list.includes(each))
      )
    }),
  )
  const seen = new Set(Array.from({ length: 200 }, () => choose([1, 2, 3], 0.3, Math.random).join()))
  t.same([...seen].toSorted(), ['1', '2', '3'], 'any of them')
})

t.test('a part is drained bit by bit, once nodes know of the new instance', async (t) => {
  const scheduler = new ManualScheduler()
  const shedding = new Shedding(scheduler, () => 0)
  let drained = 0
  const list = Array.from({ length: 90 }, () => ({ drain: () => drained++ }))
  shedding.start(1 / 3, () => list)
  scheduler.advance(SHED_DELAY_MS - 1)
  t.equal(drained, 0)
  scheduler.advance(1 + SHED_SPREAD_MS / 2)
  t.ok(drained >= 12 && drained <= 18, `${drained} at half time`)
  scheduler.advance(SHED_SPREAD_MS / 2)
  t.equal(drained, 30)
  scheduler.advance(SHED_SPREAD_MS)
  t.equal(drained, 30)
  shedding.start(1, () => list)
  scheduler.advance(SHED_DELAY_MS + SHED_SPREAD_MS / 2)
  const before = drained
  shedding.stop()
  scheduler.advance(SHED_SPREAD_MS)
  t.equal(drained, before)
})
