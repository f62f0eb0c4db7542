// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { WeightedChoice } from '../../../mesh/balance/weighted-choice.ts'
import { entry } from '../../support/key-picker-contract.ts'

const at = (value: number) => () => value

t.test('chance goes by weight, at its borders too', async (t) => {
  const list = [entry('a', 1), entry('none', 0), entry('b', 3)]
  const drawn = (value: number) => new WeightedChoice(list, at(value)).draw()?.uid
  t.same([0, 0.2499, 0.25, 0.999999].map(drawn), ['a', 'a', 'b', 'b'])
  const equal = (value: number) => new WeightedChoice([entry('a', 5), entry('b', 5)], at(value)).draw()?.uid
  t.same([0, 0.4999, 0.5, 0.999999].map(equal), ['a', 'a', 'b', 'b'])
  t.equal(new WeightedChoice([], at(0)).draw(), null)
  t.equal(new WeightedChoice([entry('none', 0)], at(0)).pick(null), null)
})

t.test('one that is not tried is found however light it is, and only such a one', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 1_000_000 }), { maxLength: 8 }),
      fc.array(fc.nat(7), { maxLength: 8 }),
      fc.double({ min: 0, max: 0.999999, noNaN: true }),
      (weights, out, value) => {
        const list = weights.map((weight, i) => entry(`e${i}`, weight))
        const tried = new Set(out.map((i) => `e${i}`))
        const picked = new WeightedChoice(list, at(value)).pick(tried)
        const left = list.filter(({ uid, capacity }) => capacity > 0 && !tried.has(uid))
        return picked === null ? left.length === 0 : left.includes(picked)
      },
    ),
  )
  t.pass()
})
