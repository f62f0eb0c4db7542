// SPDX-License-Identifier: Apache-2.0
// Streams that the pods of this node have open to each instance of a waypoint, over all workers, so that a node spreads them
// evenly whichever worker a connection came to. It lives in memory that the workers share: each writes its own column,
// which its successor clears. Which instance has which slot is said by main.
import type { StreamLoads } from '../../mesh/balance/least-streams.ts'

/** Instances of waypoints that streams are counted of; whoever is beyond counts as having none. */
export const MAX_COUNTED_INSTANCES = 1_024

/** Words of a slot before the workers' columns: whose turn it was. And one word before all slots, the next turn. */
const TURN = 1
/** Of an instance that is not counted. */
export const NO_SLOT = -1

/** Memory for all instances. */
export function createStreamCountMemory(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * (1 + MAX_COUNTED_INSTANCES * (TURN + workers)))
}

/** Streams open to the instance of a slot, in all workers. */
export function countStreams(words: Int32Array, slot: number, workers: number): number {
  const first = 1 + slot * (TURN + workers) + TURN
  let sum = 0
  for (let at = first; at < first + workers; at++) sum += Atomics.load(words, at)
  return sum
}

/** The counts, as one worker uses them. */
export class StreamCounts implements StreamLoads {
  readonly #words: Int32Array
  readonly #workers: number
  readonly #own: number
  readonly #slots = new Map<string, number>()

  /** What a predecessor of the worker had open is gone. */
  constructor(memory: SharedArrayBuffer, worker: number, workers: number) {
    this.#words = new Int32Array(memory)
    this.#workers = workers
    this.#own = TURN + worker
    for (let slot = 0; slot < MAX_COUNTED_INSTANCES; slot++)
      Atomics.store(this.#words, this.#at(slot) + this.#own, 0)
  }

  /** Who has which slot from now on, by uid; a slot is one's only. */
  learn(slots: ReadonlyMap<string, number>): void {
    const taken = new Set(slots.values())
    for (const [uid, slot] of this.#slots) if (taken.has(slot)) this.#slots.delete(uid)
    for (const [uid, slot] of slots) this.#slots.set(uid, slot)
  }

  open(uid: string): number {
    const slot = this.#slots.get(uid)
    return slot === undefined ? 0 : countStreams(this.#words, slot, this.#workers)
  }

  lastTurn(uid: string): number {
    const slot = this.#slots.get(uid)
    return slot === undefined ? 0 : Atomics.load(this.#words, this.#at(slot))
  }

  /** A stream is being opened to it. What is returned is given to `closed` when it has ended, or could not be opened. */
  opened(uid: string): number {
    const slot = this.#slots.get(uid) ?? NO_SLOT
    if (slot === NO_SLOT) return NO_SLOT
    Atomics.store(this.#words, this.#at(slot), Atomics.add(this.#words, 0, 1) + 1)
    Atomics.add(this.#words, this.#at(slot) + this.#own, 1)
    return slot
  }

  closed(slot: number): void {
    if (slot !== NO_SLOT) Atomics.sub(this.#words, this.#at(slot) + this.#own, 1)
  }

  #at(slot: number): number {
    return 1 + slot * (TURN + this.#workers)
  }
}
