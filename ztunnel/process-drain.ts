// SPDX-License-Identifier: Apache-2.0
// How long a process that accepts nothing any more goes on: until none of its workers has anything open, or its time is over.
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'

/** Of one process. begin(), then limit() as often as somebody asks. */
export class ProcessDrain {
  /** Wall clock; null: it does not drain. */
  sinceMs: number | null = null
  readonly isOver: Promise<void>
  readonly #clock: Clock
  readonly #workerCount: () => number
  readonly #end: () => void
  readonly #empty = new Set<number>()
  #timer: ClockTimer | null = null

  constructor(clock: Clock, workerCount: () => number) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#clock = clock
    this.#workerCount = workerCount
    this.isOver = promise
    this.#end = () => {
      this.#timer?.cancel()
      resolve()
    }
  }

  begin(): void {
    this.sinceMs = this.#clock.nowMs
  }

  /** From now on so many seconds; null: until the last connection has ended. */
  limit(seconds: number | null): void {
    this.#timer?.cancel()
    this.#timer = seconds === null ? null : this.#clock.startTimer(seconds * 1000, this.#end)
  }

  /** A worker has nothing open. */
  onEmpty(worker: number): void {
    this.#empty.add(worker)
    if (this.#empty.size >= this.#workerCount()) this.#end()
  }
}
