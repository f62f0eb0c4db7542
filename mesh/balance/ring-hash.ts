// SPDX-License-Identifier: Apache-2.0
// Consistent hashing on a ring: each entry stands at many points, a key belongs to the first point at or after it. Who goes
// leaves its keys to many; nobody else’s key moves.
import { hash32, nextHash } from './hash.ts'
import { type KeyPicker, keyedEntries } from './key-picker.ts'
import { MAX_RING_POINTS } from './limits.ts'
import type { Pickable } from './picker.ts'

// A point and its owner are sorted as one number below 2^53.
const OWNERS = 1 << 20

export class RingHash<T extends Pickable> implements KeyPicker<T> {
  readonly #entries: readonly T[]
  /** Sorted. */
  readonly #points: Uint32Array
  readonly #owners: Uint32Array

  /** `minPoints`: of the ring. Every entry has as many where there is room, so that points stay when others come and go. */
  constructor(list: readonly T[], minPoints: number) {
    this.#entries = keyedEntries(list)
    const each = pointsOfEach(minPoints, this.#entries.length)
    const largest = this.#entries.reduce((most, { capacity }) => Math.max(most, capacity), 0)
    const counts = this.#entries.map(({ capacity }) => Math.max(1, Math.round((each * capacity) / largest)))
    const total = counts.reduce((sum, count) => sum + count, 0)
    const packed = new Float64Array(total)
    let at = 0
    this.#entries.forEach(({ uid }, owner) => {
      const seed = hash32(uid)
      const count = counts[owner] ?? 0
      for (let index = 0; index < count; index++) packed[at++] = nextHash(seed, index) * OWNERS + owner
    })
    packed.sort()
    this.#points = new Uint32Array(total)
    this.#owners = new Uint32Array(total)
    for (at = 0; at < total; at++) {
      const point = Math.floor((packed[at] ?? 0) / OWNERS)
      this.#points[at] = point
      this.#owners[at] = (packed[at] ?? 0) - point * OWNERS
    }
  }

  pick(hash: number, isOut: (entry: T) => boolean): T | null {
    const count = this.#points.length
    const at = this.#firstFrom(hash)
    let asked = -1
    for (let step = 0; step < count; step++) {
      const owner = this.#owners[(at + step) % count] ?? 0
      if (owner === asked) continue
      asked = owner
      const entry = this.#entries[owner]
      if (entry !== undefined && !isOut(entry)) return entry
    }
    return null
  }

  /** Index of the first point at or after `hash`; the number of points when there is none. */
  #firstFrom(hash: number): number {
    let [low, high] = [0, this.#points.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#points[middle] ?? 0) < hash) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** A power of two: it changes seldom, and then by points in between. */
function pointsOfEach(minPoints: number, entries: number): number {
  const asked = 2 ** Math.ceil(Math.log2(Math.max(1, minPoints)))
  const room = 2 ** Math.floor(Math.log2(Math.max(1, MAX_RING_POINTS / Math.max(1, entries))))
  return Math.min(asked, room)
}
