// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_MAGLEV_SIZE } from '../../../mesh/balance/limits.ts'
import { Maglev } from '../../../mesh/balance/maglev.ts'
import { entry, keyPickerContract } from '../../support/key-picker-contract.ts'

t.test('a Maglev table keeps what a key picker promises', async (t) => {
  await keyPickerContract(t, (list) => new Maglev(list, 65_537), { spread: 0.03, moved: 0.05 })
})

t.test('places are shared to within one', async (t) => {
  const maglev = new Maglev([entry('a'), entry('b'), entry('c')], 100)
  const counts: Record<string, number> = {}
  for (let place = 0; place < 101; place++) {
    const uid = maglev.pick(place, () => false)?.uid ?? ''
    counts[uid] = (counts[uid] ?? 0) + 1
  }
  t.same(Object.values(counts).sort(), [33, 34, 34], '101 is the next prime')
})

t.test('tables that are asked to be tiny or huge', async (t) => {
  t.equal(new Maglev([entry('a')], 0).pick(7, () => false)?.uid, 'a')
  const huge = new Maglev([entry('a'), entry('b', 1_000_000)], 5_000_000_000)
  let light = 0
  for (let place = 0; place < MAX_MAGLEV_SIZE; place++)
    if (huge.pick(place, () => false)?.uid === 'a') light++
  t.ok(light <= 1, `${light} places for a millionth`)
})
