// SPDX-License-Identifier: Apache-2.0
// Gives back what a burst of configuration left in the main thread: messages, the model before it, half-built objects. V8
// would keep it for an idle process. Waits until the burst is over, because collecting stops the thread for a moment.
import { TrimReserve } from '../mesh/reactor/trim-reserve.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'

/** A model that has not changed for so long is one that stays for a while. */
export const MODEL_QUIET_MS = 3000

/** What it works with. */
export interface ModelTrimOptions {
  readonly clock: Clock
  /** Size of this thread's heap with its free parts. */
  readonly heapBytes: () => number
  readonly trim: () => void
}

/** Looks after the main thread. */
export class ModelTrim {
  readonly #options: ModelTrimOptions
  readonly #reserve: TrimReserve
  #timer: ClockTimer | null = null

  constructor(options: ModelTrimOptions) {
    this.#options = options
    this.#reserve = new TrimReserve(options.clock.nowMs)
  }

  /** The model changed. */
  onModel(): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.startTimer(MODEL_QUIET_MS, () => this.#look())
  }

  #look(): void {
    const { clock, heapBytes, trim } = this.#options
    this.#timer = null
    // Growth is the only reason here: small changes leave little outside the heap.
    if (!this.#reserve.takeIfWorth(heapBytes(), 0, clock.nowMs)) return
    trim()
    this.#reserve.trimmed(heapBytes(), 0)
  }
}
