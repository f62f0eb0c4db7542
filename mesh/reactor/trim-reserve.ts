// SPDX-License-Identifier: Apache-2.0
// When is it worth to collect an idle thread's garbage? Whenever its heap has grown; and after work that left the heap
// small, because much of what work leaves is outside the heap. The latter only as long as there is a reserve, which
// fills up again: otherwise a thread with a little to do now and then would collect after each bit of it. Pure.
import { TokenBucket } from '../runtime/token-bucket.ts'

/** Worth a collection at once: the heap has grown by this factor and this much since the last one. */
const WORTH_FACTOR = 1.2
const WORTH_BYTES = 2_097_152
/** Worth one from the reserve: this much work since the last one. */
const WORTH_BUSY_MS = 50
/** Collections in reserve: the parts of a start, and a burst soon after it. */
export const RESERVE = 4
/** One more comes into the reserve: some 20 ms of collecting in so long. */
export const REFILL_MS = 300_000

/** Decides for one thread. Times are of one clock that does not step. */
export class TrimReserve {
  readonly #reserve: TokenBucket
  #heapBytes = 0
  #busyMs = 0

  constructor(nowMs: number) {
    this.#reserve = new TokenBucket({ capacity: RESERVE, perSecond: 1000 / REFILL_MS }, nowMs)
  }

  /** True when a collection is worth it now; takes it from the reserve if work alone is the reason. */
  takeIfWorth(heapBytes: number, busyMs: number, nowMs: number): boolean {
    if (heapBytes >= this.#heapBytes * WORTH_FACTOR + WORTH_BYTES) return true
    return busyMs - this.#busyMs >= WORTH_BUSY_MS && this.#reserve.take(nowMs)
  }

  /** A collection was made: what is left of the heap, and all work so far with that of the collection. */
  trimmed(heapBytes: number, busyMs: number): void {
    this.#heapBytes = heapBytes
    this.#busyMs = busyMs
  }
}
