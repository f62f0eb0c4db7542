// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Block } from '../../../mesh/reactor/byte-stream.ts'
import { FreeBlocks } from '../../../mesh/reactor/free-blocks.ts'

const makeBlocks = (count: number): Block[] =>
  Array.from({ length: count }, (_each, address) => ({ bytes: Buffer.alloc(1), address }))

t.test('the block that was given last is taken first, and what is over the limit is released', async (t) => {
  const released: Block[] = []
  const free = new FreeBlocks(2, (block) => released.push(block))
  const [a, b, c] = makeBlocks(3)
  if (a === undefined || b === undefined || c === undefined) return
  t.equal(free.take(), undefined)
  for (const block of [a, b, c]) free.give(block)
  t.same([free.count, released], [2, [c]])
  t.same([free.take(), free.take(), free.take()], [b, a, undefined])
})

t.test('an ebb releases what was not needed since the last one, and nothing else', async (t) => {
  // Blocks taken and given back between two ebbs, and how many are free after the second.
  const table = [
    { most: [], left: 0 },
    { most: [0], left: 0 },
    { most: [3], left: 3 },
    { most: [1, 5, 2], left: 5 },
    { most: [10], left: 10 },
  ]
  for (const { most, left } of table) {
    const released: Block[] = []
    const free = new FreeBlocks(10, (block) => released.push(block))
    for (const block of makeBlocks(10)) free.give(block)
    free.ebb()
    t.equal(free.count, 10, 'they have only just come')
    for (const count of most) {
      const taken = Array.from({ length: count }, () => free.take())
      for (const block of taken) if (block !== undefined) free.give(block)
    }
    free.ebb()
    t.equal(free.count, left, `${most}`)
    t.equal(released.length, 10 - left)
    free.clear()
    t.equal(new Set(released).size, 10, 'each is released once')
    free.ebb()
    t.equal(free.take(), undefined)
  }
})
