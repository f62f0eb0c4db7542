// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Pickable } from '../../../mesh/balance/picker.ts'
import { roundRobin } from '../../../mesh/balance/round-robin.ts'

const entry = (uid: string, capacity = 1, rank = 0): Pickable => ({ uid, capacity, rank })
const zero = (): number => 0

function counts(
  list: readonly Pickable[],
  picks: number,
  random: () => number = zero,
): Record<string, number> {
  const picker = roundRobin(list, random)
  const found: Record<string, number> = {}
  for (let index = 0; index < picks; index++) {
    const uid = picker.pick(null)?.uid ?? 'null'
    found[uid] = (found[uid] ?? 0) + 1
  }
  return found
}

t.test('equal entries take turns', async (t) => {
  const picker = roundRobin([entry('a'), entry('b'), entry('c')], zero)
  t.same(
    Array.from({ length: 7 }, () => picker.pick(null)?.uid),
    ['a', 'b', 'c', 'a', 'b', 'c', 'a'],
  )
})

t.test('over a period everyone gets exactly its weight', async (t) => {
  t.same(counts([entry('a', 5), entry('b', 1), entry('c', 2)], 80), { a: 50, b: 10, c: 20 })
  t.same(counts([entry('a', 1), entry('b', 99)], 1000), { a: 10, b: 990 })
  t.same(counts([entry('a', 3), entry('b', 3), entry('c', 3)], 9), { a: 3, b: 3, c: 3 })
})

t.test('heavy entries are spread, not served in a row', async (t) => {
  const picker = roundRobin([entry('a', 2), entry('b', 1), entry('c', 1)], zero)
  const order = Array.from({ length: 40 }, () => picker.pick(null)?.uid ?? '').join('')
  t.notMatch(order, /aaa|bbb|ccc/)
  t.equal(order.replaceAll(/[^a]/g, '').length, 20)
})

t.test('capacity 0 is never picked, huge capacities keep their ratio', async (t) => {
  t.same(counts([entry('a', 0), entry('b')], 10), { b: 10 })
  t.same(counts([entry('a', 0)], 3), { null: 3 })
  t.same(counts([], 1), { null: 1 })
  const found = counts([entry('a', 4_000_000_000), entry('b', 1_000_000_000)], 5000)
  t.same(found, { a: 4000, b: 1000 })
})

t.test('fractions keep their ratio: shares of what is behind a gateway', async (t) => {
  t.same(counts([entry('a', 0.25), entry('b', 0.75)], 400), { a: 100, b: 300 })
  const found = counts([entry('near', 1), entry('east', 1 / 3), entry('west', 2 / 3)], 6000)
  t.ok(Math.abs((found.near ?? 0) - 3000) <= 2)
  t.ok(Math.abs((found.east ?? 0) - 1000) <= 2)
})

t.test('a lower rank serves only when every higher one is out', async (t) => {
  const list = [entry('far', 1, 0), entry('near', 1, 2), entry('nearer', 1, 2), entry('dead', 0, 9)]
  t.same(counts(list, 10), { near: 5, nearer: 5 })
  const picker = roundRobin(list, zero)
  t.equal(picker.pick(new Set(['near']))?.uid, 'nearer')
  t.equal(picker.pick(new Set(['near', 'nearer']))?.uid, 'far')
  t.equal(picker.pick(new Set(['near', 'nearer', 'far'])), null)
})

t.test('an untried entry is found however light it is', async (t) => {
  const list = [entry('heavy', 1_000_000), entry('light', 1), entry('feather', 1)]
  const picker = roundRobin(list, zero)
  for (let index = 0; index < 20; index++) t.not(picker.pick(new Set(['heavy'])), null)
})

t.test('workers start at different places', async (t) => {
  const list = Array.from({ length: 10 }, (_, index) => entry(`e${index}`))
  const starts = [0, 0.25, 0.5, 0.999].map((at) => roundRobin(list, () => at).pick(null)?.uid)
  t.same(starts, ['e0', 'e2', 'e5', 'e9'])
  t.same(
    counts([entry('a', 5), entry('b', 1)], 60, () => 0.77),
    { a: 50, b: 10 },
    'the shares are the same from anywhere',
  )
})
