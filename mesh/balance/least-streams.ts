// SPDX-License-Identifier: Apache-2.0
// Spreads connections that stay: of those who have the fewest streams open, or nearly, whoever waited longest takes the next
// one, so that connections that stay and connections that come and go are both shared evenly. Of a few all are compared;
// of many the better of two chosen by chance is nearly as even (Mitzenmacher, “The Power of Two Choices”, 2001).
import { LeastLoaded } from './least-loaded.ts'
import { MAX_COMPARED } from './limits.ts'
import type { MakePicker, Pickable, Picker } from './picker.ts'
import { RoundRobin } from './round-robin.ts'

/** What each has now, by uid; of one that is not known both are 0. */
export interface StreamLoads {
  /** Streams that are open or being opened. */
  open(uid: string): number
  /** Grows with each stream that anybody is given; wraps at 32 bits. */
  lastTurn(uid: string): number
}

/** Below so many streams one more or less is chance. */
const FEW = 5
/** Of those that the least one has, so many more are no difference. */
const SLACK_PART = 0.1

/** Open streams up to which one is as good as another that has `least`: else totals would follow who ended last. */
function enoughFor(least: number): number {
  return least + (least < FEW ? 1 : Math.floor(least * SLACK_PART))
}

/** True when `second` should have the next stream rather than `first`. */
export function hasLess(loads: StreamLoads, second: string, first: string): boolean {
  const [openSecond, openFirst] = [loads.open(second), loads.open(first)]
  if (openFirst > enoughFor(openSecond)) return true
  if (openSecond > enoughFor(openFirst)) return false
  return isLongerAgo(loads.lastTurn(second), loads.lastTurn(first))
}

function isLongerAgo(turn: number, than: number): boolean {
  return ((turn - than) | 0) < 0
}

/** Some that weigh the same, all compared. */
class LeastOfFew<T extends Pickable> implements Picker<T> {
  readonly #entries: readonly T[]
  readonly #random: () => number
  readonly #loads: StreamLoads
  /** Streams of each, while one is picked. */
  readonly #open: Int32Array

  constructor(entries: readonly T[], random: () => number, loads: StreamLoads) {
    this.#entries = entries
    this.#random = random
    this.#loads = loads
    this.#open = new Int32Array(entries.length)
  }

  pick(tried: ReadonlySet<string> | null): T | null {
    const enough = enoughFor(this.#count(tried))
    const { length } = this.#entries
    let at = Math.floor(this.#random() * length)
    let best: T | null = null
    let bestTurn = 0
    for (let step = 0; step < length; step++, at = at + 1 === length ? 0 : at + 1) {
      const entry = this.#entries[at]
      if (entry === undefined || (this.#open[at] ?? 0) > enough || tried?.has(entry.uid)) continue
      const turn = this.#loads.lastTurn(entry.uid)
      if (best !== null && !isLongerAgo(turn, bestTurn)) continue
      best = entry
      bestTurn = turn
    }
    return best
  }

  /** Streams of the one that has the least. */
  #count(tried: ReadonlySet<string> | null): number {
    let least = Number.POSITIVE_INFINITY
    for (const [index, { uid }] of this.#entries.entries()) {
      const open = this.#loads.open(uid)
      this.#open[index] = open
      if (open < least && !tried?.has(uid)) least = open
    }
    return least
  }
}

/** Among those of the highest rank that has an untried entry. Entries of unlike weight get their shares in turn. */
export class LeastStreams<T extends Pickable> implements Picker<T> {
  readonly #ranks: readonly Picker<T>[]

  constructor(list: readonly T[], random: () => number, loads: StreamLoads) {
    const usable = list.filter(({ capacity }) => capacity > 0)
    const ranks = [...new Set(usable.map(({ rank }) => rank))].sort((a, b) => b - a)
    this.#ranks = ranks.map((rank) => {
      const entries = usable.filter((entry) => entry.rank === rank)
      const areAlike = entries.every(({ capacity }) => capacity === entries[0]?.capacity)
      if (!areAlike) return new RoundRobin(entries, random)
      if (entries.length <= MAX_COMPARED) return new LeastOfFew(entries, random, loads)
      return new LeastLoaded(entries, random, (second, first) => hasLess(loads, second.uid, first.uid))
    })
  }

  pick(tried: ReadonlySet<string> | null): T | null {
    for (const rank of this.#ranks) {
      const entry = rank.pick(tried)
      if (entry !== null) return entry
    }
    return null
  }
}

/** Makes LeastStreams that look at `loads`. */
export function leastStreams(loads: StreamLoads): MakePicker {
  return (list, random) => new LeastStreams(list, random, loads)
}
