// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { hasLess, LeastStreams, type StreamLoads } from '../../../mesh/balance/least-streams.ts'
import { MAX_COMPARED } from '../../../mesh/balance/limits.ts'
import type { Pickable } from '../../../mesh/balance/picker.ts'

const entry = (uid: string, capacity = 1, rank = 0): Pickable => ({ uid, rank, capacity })

/** Counts as the workers of a node keep them. */
class Counted implements StreamLoads {
  readonly #open = new Map<string, number>()
  readonly #turns = new Map<string, number>()
  readonly total = new Map<string, number>()
  #turn: number

  constructor(firstTurn = 0) {
    this.#turn = firstTurn
  }
  open(uid: string): number {
    return this.#open.get(uid) ?? 0
  }
  lastTurn(uid: string): number {
    return this.#turns.get(uid) ?? 0
  }
  begin(uid: string): void {
    this.#open.set(uid, this.open(uid) + 1)
    this.#turn = (this.#turn + 1) | 0
    this.#turns.set(uid, this.#turn)
    this.total.set(uid, (this.total.get(uid) ?? 0) + 1)
  }
  end(uid: string): void {
    this.#open.set(uid, this.open(uid) - 1)
  }
}

/** A small linear generator: the same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** [streams of a, of b, turn of a, of b]: who has the next one. */
const TABLE: readonly [readonly [number, number, number, number], 'a' | 'b'][] = [
  [[0, 0, 3, 7], 'a'],
  [[0, 0, 7, 3], 'b'],
  [[0, 1, 7, 3], 'b'],
  [[0, 2, 7, 3], 'a'],
  [[2, 0, 3, 7], 'b'],
  [[11, 10, 3, 7], 'a'],
  [[12, 10, 3, 7], 'b'],
  [[6, 5, 3, 7], 'b'],
  [[22, 20, 3, 7], 'a'],
  [[23, 20, 3, 7], 'b'],
  [[0, 0, 2 ** 31 - 1, -(2 ** 31)], 'a'],
]

t.test(
  'fewer streams, with a little slack; else who waited longest, also when turns have wrapped',
  async (t) => {
    for (const [[openA, openB, turnA, turnB], expected] of TABLE) {
      const loads: StreamLoads = {
        open: (uid) => (uid === 'a' ? openA : openB),
        lastTurn: (uid) => (uid === 'a' ? turnA : turnB),
      }
      const name = JSON.stringify([openA, openB, turnA, turnB])
      t.equal(hasLess(loads, 'b', 'a') ? 'b' : 'a', expected, name)
      t.equal(hasLess(loads, 'a', 'b') ? 'a' : 'b', expected, name)
      for (const start of [0, 0.5]) {
        const picker = new LeastStreams([entry('a'), entry('b')], () => start, loads)
        t.equal(picker.pick(null)?.uid, expected, name)
      }
    }
  },
)

t.test('connections that stay differ by one, through whichever of several pickers they come', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: MAX_COMPARED }),
      fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 200 }),
      fc.nat(),
      (size, through, seed) => {
        const list = Array.from({ length: size }, (_, index) => entry(`e${index}`))
        const loads = new Counted(2 ** 31 - 20)
        const random = seeded(seed)
        const pickers = Array.from({ length: 6 }, () => new LeastStreams(list, random, loads))
        for (const at of through) loads.begin(pickers[at]?.pick(null)?.uid ?? '')
        const open = list.map(({ uid }) => loads.open(uid))
        return Math.max(...open) - Math.min(...open) <= 1
      },
    ),
  )
})

t.test('three share both what stays and what comes and goes, and a new one is filled first', async () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 0, max: 30 }), (seed, kept) => {
      const random = seeded(seed)
      const loads = new Counted()
      const list = ['a', 'b', 'c'].map((uid) => entry(uid))
      const pick = (of: readonly Pickable[]): string =>
        new LeastStreams(of, random, loads).pick(null)?.uid ?? ''
      // So many at a time, which last alike, and now and then one that ends out of its order.
      const open: string[] = []
      for (let index = 0; index < 1_000; index++) {
        const uid = pick(list)
        loads.begin(uid)
        open.push(uid)
        if (open.length <= kept) continue
        const at = index % 10 === 0 ? Math.floor(random() * open.length) : 0
        const [ended] = open.splice(at, 1)
        if (ended !== undefined) loads.end(ended)
      }
      const totals = list.map(({ uid }) => loads.total.get(uid) ?? 0)
      if (Math.max(...totals) > 1.2 * Math.min(...totals)) return false
      const least = Math.min(...list.map(({ uid }) => loads.open(uid)))
      for (let index = 0; index < least; index++) loads.begin(pick([...list, entry('new')]))
      return loads.open('new') >= Math.floor(least * 0.9) - 1
    }),
    { numRuns: 50 },
  )
})

t.test('of many the better of two is nearly as even', async (t) => {
  const list = Array.from({ length: 40 }, (_, index) => entry(`e${index}`))
  const loads = new Counted()
  const picker = new LeastStreams(list, seeded(3), loads)
  for (let index = 0; index < 4_000; index++) loads.begin(picker.pick(null)?.uid ?? '')
  const open = list.map(({ uid }) => loads.open(uid))
  t.ok(Math.max(...open) <= 1.2 * Math.min(...open), `${Math.min(...open)} to ${Math.max(...open)}`)
})

t.test('higher ranks first, never one without capacity or one that was tried', async (t) => {
  const loads = new Counted()
  const near = entry('near', 1, 1)
  const picker = new LeastStreams([entry('far'), near, entry('never', 0, 2)], seeded(1), loads)
  for (let index = 0; index < 5; index++) {
    const uid = picker.pick(null)?.uid ?? ''
    t.equal(uid, 'near', 'however many it has')
    loads.begin(uid)
  }
  t.equal(picker.pick(new Set(['near']))?.uid, 'far')
  t.equal(picker.pick(new Set(['near', 'far'])), null)
  t.equal(new LeastStreams([], seeded(1), loads).pick(null), null)
  const weighted = new LeastStreams([entry('three', 3), entry('one')], seeded(1), loads)
  const shares = Array.from({ length: 40 }, () => weighted.pick(null)?.uid)
  t.equal(shares.filter((uid) => uid === 'three').length, 30)
})
