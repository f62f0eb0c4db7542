// SPDX-License-Identifier: Apache-2.0
// Chance by weight among entries of one rank: the random picker, and the draws of those who compare two.
import type { Pickable, Picker } from './picker.ts'

/** Draws before the list is gone through for one that is not tried yet. */
const DRAWS = 4

export class WeightedChoice<T extends Pickable> implements Picker<T> {
  readonly #entries: readonly T[]
  /** Sums of weights up to and with each; null: all weigh the same. */
  readonly #sums: Float64Array | null
  readonly #random: () => number

  constructor(list: readonly T[], random: () => number) {
    this.#random = random
    this.#entries = list.filter(({ capacity }) => capacity > 0)
    const first = this.#entries[0]?.capacity
    if (this.#entries.every(({ capacity }) => capacity === first)) this.#sums = null
    else {
      let sum = 0
      this.#sums = Float64Array.from(this.#entries, ({ capacity }) => {
        sum += capacity
        return sum
      })
    }
  }

  get size(): number {
    return this.#entries.length
  }

  /** Any entry, tried or not; null: the list is empty. */
  draw(): T | null {
    const sums = this.#sums
    if (sums === null) return this.#entries[Math.floor(this.#random() * this.#entries.length)] ?? null
    const at = this.#random() * (sums.at(-1) ?? 0)
    let [low, high] = [0, sums.length - 1]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sums[middle] ?? 0) <= at) low = middle + 1
      else high = middle
    }
    return this.#entries[low] ?? null
  }

  pick(tried: ReadonlySet<string> | null): T | null {
    if (tried === null || tried.size === 0) return this.draw()
    for (let draws = 0; draws < DRAWS; draws++) {
      const entry = this.draw()
      if (entry !== null && !tried.has(entry.uid)) return entry
    }
    const count = this.#entries.length
    const start = Math.floor(this.#random() * count)
    for (let step = 0; step < count; step++) {
      const entry = this.#entries[(start + step) % count]
      if (entry !== undefined && !tried.has(entry.uid)) return entry
    }
    return null
  }
}
