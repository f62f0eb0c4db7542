// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { LeastLoaded } from '../../../mesh/balance/least-loaded.ts'
import type { Pickable } from '../../../mesh/balance/picker.ts'
import { entry } from '../../support/key-picker-contract.ts'

/** A small linear generator: the same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

t.test('the better of two is taken, never one that was tried', async (t) => {
  const list = [entry('busy'), entry('free')]
  const isBetter = (second: Pickable) => second.uid === 'free'
  const picker = new LeastLoaded(list, seeded(1), isBetter)
  let free = 0
  for (let i = 0; i < 1_000; i++) if (picker.pick(null)?.uid === 'free') free++
  t.ok(free > 950, `${free} of 1,000 went to the free one`)
  for (let i = 0; i < 50; i++) t.equal(picker.pick(new Set(['free']))?.uid, 'busy')
  t.equal(picker.pick(new Set(['free', 'busy'])), null)
  t.equal(new LeastLoaded([entry('only')], seeded(1), isBetter).pick(null)?.uid, 'only')
  t.equal(new LeastLoaded([], seeded(1), isBetter).pick(null), null)
})

t.test('requests that stay are spread more evenly than by chance', async (t) => {
  const list = Array.from({ length: 50 }, (_, i) => entry(`e${i}`))
  const loads = new Map<Pickable, number>(list.map((each) => [each, 0]))
  const load = (each: Pickable): number => loads.get(each) ?? 0
  const picker = new LeastLoaded(list, seeded(5), (second, first) => load(second) < load(first))
  for (let i = 0; i < 5_000; i++) {
    const picked = picker.pick(null)
    if (picked !== null) loads.set(picked, load(picked) + 1)
  }
  const found = [...loads.values()]
  t.ok(Math.max(...found) <= 104, `most ${Math.max(...found)}, of a mean of 100`)
  t.ok(Math.min(...found) >= 96, `least ${Math.min(...found)}`)
})
