// SPDX-License-Identifier: Apache-2.0
// Weighted smooth round robin without floating state: a static stride schedule (the idea of gRPC's A58). A counter
// walks over the entries generation by generation; an entry takes its turn in `capacity` of every `largest`
// generations, spread evenly. Exact over a whole period, and workers start at random places, not in lockstep.
import type { MakePicker, Pickable, Picker } from './picker.ts'

// Products of weight and generation stay below 2^53. Larger capacities are scaled down together, and fractions (shares of
// what is behind a gateway) up.
const MAX_WEIGHT = 1 << 20

/** The entries of one rank. */
class Stride<T extends Pickable> {
  readonly #entries: readonly T[]
  readonly #weights: Float64Array
  readonly #largest: number
  #at: number
  #generation: number

  constructor(entries: readonly T[], random: () => number) {
    this.#entries = entries
    const largest = entries.reduce((most, { capacity }) => Math.max(most, capacity), 0)
    const isExact = largest <= MAX_WEIGHT && entries.every(({ capacity }) => Number.isInteger(capacity))
    const scale = isExact || largest === 0 ? 1 : MAX_WEIGHT / largest
    this.#weights = Float64Array.from(entries, ({ capacity }) => Math.ceil(capacity * scale))
    this.#largest = Math.ceil(largest * scale)
    this.#at = Math.floor(random() * entries.length)
    this.#generation = Math.floor(random() * this.#largest)
  }

  pick(tried: ReadonlySet<string> | null): T | null {
    // The heaviest entry is due in every generation, so one round always finds somebody to begin with.
    for (let step = 0; step < this.#entries.length; step++) {
      const entry = this.#step()
      if (entry !== null && (tried === null || !tried.has(entry.uid))) return entry
    }
    return tried === null ? null : this.#firstUntried(tried)
  }

  /** The entry at the counter if its turn has come. */
  #step(): T | null {
    const index = this.#at
    const weight = this.#weights[index] ?? 0
    // A constant offset per entry keeps entries of equal weight from skipping the same generations.
    const phase = (weight * this.#generation + index * (this.#largest >> 1)) % this.#largest
    if (++this.#at === this.#entries.length) {
      this.#at = 0
      this.#generation = (this.#generation + 1) % this.#largest
    }
    return phase + weight >= this.#largest ? (this.#entries[index] ?? null) : null
  }

  /** The heavy ones were tried: any other will do, from where the counter stands. */
  #firstUntried(tried: ReadonlySet<string>): T | null {
    for (let step = 0; step < this.#entries.length; step++) {
      const entry = this.#entries[(this.#at + step) % this.#entries.length]
      if (entry !== undefined && !tried.has(entry.uid)) return entry
    }
    return null
  }
}

/** Round robin over the highest rank that has an untried entry. */
export class RoundRobin<T extends Pickable> implements Picker<T> {
  readonly #ranks: readonly Stride<T>[]

  constructor(list: readonly T[], random: () => number) {
    const byRank = new Map<number, T[]>()
    for (const entry of list) {
      if (!(entry.capacity > 0)) continue
      const same = byRank.get(entry.rank)
      if (same === undefined) byRank.set(entry.rank, [entry])
      else same.push(entry)
    }
    const ranks = [...byRank.keys()].sort((a, b) => b - a)
    this.#ranks = ranks.map((rank) => new Stride(byRank.get(rank) ?? [], random))
  }

  pick(tried: ReadonlySet<string> | null): T | null {
    for (const rank of this.#ranks) {
      const entry = rank.pick(tried)
      if (entry !== null) return entry
    }
    return null
  }
}

/** Makes a RoundRobin. */
export const roundRobin: MakePicker = (list, random) => new RoundRobin(list, random)
