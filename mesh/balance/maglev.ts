// SPDX-License-Identifier: Apache-2.0
// Maglev (Eisenbud et al., NSDI 2016 §3.4): a table in which every entry has its share to within one place, so that a key is
// found in one step. Who goes leaves its places to the others; a few more keys move than on a ring.
import { hash32, nextHash } from './hash.ts'
import { type KeyPicker, keyedEntries } from './key-picker.ts'
import { MAX_MAGLEV_SIZE } from './limits.ts'
import type { Pickable } from './picker.ts'

/** Other places that are asked for a key whose own entry is out, before the list is gone through. */
const DETOURS = 8

export class Maglev<T extends Pickable> implements KeyPicker<T> {
  readonly #entries: readonly T[]
  /** Index of the owner of each place. */
  readonly #table: Uint32Array

  /** `size`: places, taken up to the next prime and down to MAX_MAGLEV_SIZE. */
  constructor(list: readonly T[], size: number) {
    this.#entries = keyedEntries(list)
    this.#table =
      this.#entries.length === 0 ? new Uint32Array(1) : fill(this.#entries, primeFrom(Math.max(size, 3)))
  }

  pick(hash: number, isOut: (entry: T) => boolean): T | null {
    let at = hash
    for (let step = 0; step <= DETOURS; step++) {
      const entry = this.#entries[this.#table[at % this.#table.length] ?? 0]
      if (entry !== undefined && !isOut(entry)) return entry
      at = nextHash(hash, step)
    }
    const count = this.#entries.length
    for (let step = 0; step < count; step++) {
      const entry = this.#entries[(at + step) % count]
      if (entry !== undefined && !isOut(entry)) return entry
    }
    return null
  }
}

/** Entries take their next free place in turn; a lighter one sits out turns. */
function fill(entries: readonly Pickable[], size: number): Uint32Array {
  const count = entries.length
  const largest = entries.reduce((most, { capacity }) => Math.max(most, capacity), 0)
  const seeds = Uint32Array.from(entries, ({ uid }) => hash32(uid))
  const at = seeds.map((seed) => nextHash(seed, 0) % size)
  const skips = seeds.map((seed) => (nextHash(seed, 1) % (size - 1)) + 1)
  const weights = Float64Array.from(entries, ({ capacity }) => capacity / largest)
  const due = new Float64Array(count)
  const table = new Uint32Array(size).fill(count)
  for (let taken = 0; ; ) {
    for (let index = 0; index < count; index++) {
      const turns = (due[index] ?? 0) + (weights[index] ?? 0)
      due[index] = turns < 1 ? turns : turns - 1
      if (turns < 1) continue
      const skip = skips[index] ?? 1
      let place = at[index] ?? 0
      while (table[place] !== count) {
        place += skip
        if (place >= size) place -= size
      }
      at[index] = place
      table[place] = index
      if (++taken === size) return table
    }
  }
}

/** The paper asks for a prime: any skip then visits every place. */
function primeFrom(size: number): number {
  let candidate = Math.min(Math.floor(size), MAX_MAGLEV_SIZE)
  while (!isPrime(candidate)) candidate++
  return candidate
}

function isPrime(value: number): boolean {
  for (let divisor = 2; divisor * divisor <= value; divisor++) if (value % divisor === 0) return false
  return true
}
