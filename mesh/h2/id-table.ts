// SPDX-License-Identifier: Apache-2.0
// What has an id, found by it. Not a Map: V8 links each table that a Map has outgrown to its successor, so that one of them
// that has died old keeps all that was ever in the later ones until a full collection: what lives for a millisecond is
// copied twice and takes megabytes then. Here a place that is free holds nothing.

const LEAST_PLACES = 8
/** A table that has become empty keeps so many: who had a burst has another one. */
const KEPT_PLACES = 64

/**
 * Ids are positive, and mostly rise by two. At most half of the places are taken, so that a search ends soon; who chooses ids
 * so that it does not makes it as long as there are entries.
 */
export class IdTable<T extends { readonly id: number }> {
  #places: Array<T | null> = emptyPlaces(LEAST_PLACES)
  size = 0

  get(id: number): T | null {
    return this.#places[this.#placeOf(id)] ?? null
  }

  /** Its id must not be in the table. */
  add(entry: T): void {
    if (++this.size * 2 > this.#places.length) this.#resize(this.#places.length * 2)
    this.#places[this.#placeOf(entry.id)] = entry
  }

  delete(id: number): void {
    const place = this.#placeOf(id)
    if (this.#places[place] === null) return
    this.size--
    this.#places[place] = null
    this.#closeGap(place)
    if (this.size === 0 && this.#places.length > KEPT_PLACES) this.#resize(LEAST_PLACES)
  }

  /** A snapshot. */
  all(): T[] {
    return this.#places.filter((entry) => entry !== null)
  }

  /** Where the id is, or the free place where its search ends. */
  #placeOf(id: number): number {
    const places = this.#places
    const mask = places.length - 1
    let place = (id >>> 1) & mask
    for (let entry = places[place]; entry !== null; entry = places[place]) {
      if (entry?.id === id) return place
      place = (place + 1) & mask
    }
    return place
  }

  /** Moves up what would not be found any more across a place that has become free. */
  #closeGap(gap: number): void {
    const places = this.#places
    const mask = places.length - 1
    for (let place = (gap + 1) & mask; ; place = (place + 1) & mask) {
      const entry = places[place] ?? null
      if (entry === null) return
      const home = (entry.id >>> 1) & mask
      if (((place - home) & mask) < ((place - gap) & mask)) continue
      places[gap] = entry
      places[place] = null
      gap = place
    }
  }

  #resize(length: number): void {
    const outgrown = this.#places
    this.#places = emptyPlaces(length)
    for (const entry of outgrown) if (entry !== null) this.#places[this.#placeOf(entry.id)] = entry
    outgrown.fill(null) // it may be old, or made old by V8 because such arrays live long: nothing must hang on it
  }
}

function emptyPlaces<T>(length: number): Array<T | null> {
  return new Array<T | null>(length).fill(null)
}
