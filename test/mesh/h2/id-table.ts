// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { IdTable } from '../../../mesh/h2/id-table.ts'
import { grownOldBytes } from '../../support/old-space.ts'

/** Numbers in [0, 1), the same in every run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

t.test('it holds what a Map would, whatever comes and goes', async (t) => {
  // Ids as clients give them, all in the same place, and at random.
  const patterns: Record<string, (count: number, random: () => number) => number> = {
    sequence: (count) => count * 2 + 1,
    'both halves': (count) => count + 1,
    colliding: (count) => (count + 1) * 2048,
    random: (_count, random) => 1 + Math.floor(random() * 2 ** 31),
  }
  for (const [name, idOf] of Object.entries(patterns)) {
    const random = seeded(name.length)
    const table = new IdTable<{ id: number }>()
    const expected = new Map<number, { id: number }>()
    for (let step = 0, count = 0; step < 20_000; step++) {
      // Waves: it grows to hundreds and shrinks to none.
      const isGrowing = Math.floor(step / 1500) % 2 === 0
      if (random() < (isGrowing ? 0.65 : 0.35)) {
        const entry = { id: idOf(count++, random) }
        if (expected.has(entry.id)) continue
        table.add(entry)
        expected.set(entry.id, entry)
      } else {
        const ids = [...expected.keys()]
        const id = ids[Math.floor(random() * ids.length)] ?? 999_999_999
        table.delete(id)
        expected.delete(id)
        if (table.get(id) !== null) t.fail(`${name}: ${id} is still there`)
      }
      if (step % 97 !== 0) continue
      t.equal(table.size, expected.size, name)
      for (const [id, entry] of expected) if (table.get(id) !== entry) t.fail(`${name}: ${id} is lost`)
      t.same(new Set(table.all()), new Set(expected.values()), name)
    }
  }
})

t.test('what has left is garbage, whatever the table was when it was there', async (t) => {
  const table = new IdTable<{ id: number; payload: number[] }>()
  const add = (index: number): void => table.add({ id: index * 2 + 1, payload: [index, index, index, index] })
  for (let index = 0; index < 4; index++) add(index)
  const grown = grownOldBytes(200_000, (index) => {
    add(index + 4)
    table.delete(index * 2 + 1)
  })
  t.ok(grown < 2_000_000, `${grown} bytes`)
})
