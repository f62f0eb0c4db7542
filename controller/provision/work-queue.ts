// SPDX-License-Identifier: Apache-2.0
// Work by name: each is done by one hand at a time, a few at once, and what fails is tried again later and later, without
// keeping up the others.
import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'

/** What a queue is made of. */
export interface WorkQueueOptions {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Done at once. */
  readonly concurrency: number
  readonly retryInitialMs: number
  readonly retryMaxMs: number
  /**
   * Does it. A number is a failure that has been told: it is tried again, not before so many milliseconds.
   * Never throws.
   */
  readonly work: (key: string) => Promise<'done' | number>
}

export class WorkQueue {
  readonly #options: WorkQueueOptions
  readonly #waiting = new Set<string>()
  readonly #running = new Map<string, Promise<void>>()
  readonly #retries = new Map<string, ClockTimer>()
  readonly #backoffs = new Map<string, Backoff>()
  #isStopped = false

  constructor(options: WorkQueueOptions) {
    this.#options = options
  }

  /** Has it done: soon, after the present run, or when its pause after a failure is over. */
  add(key: string): void {
    if (this.#isStopped || this.#retries.has(key)) return
    this.#waiting.add(key)
    this.#fill()
  }

  /** It is not to be done any more; a run under way ends as it may. */
  forget(key: string): void {
    this.#waiting.delete(key)
    this.#retries.get(key)?.cancel()
    this.#retries.delete(key)
    this.#backoffs.delete(key)
  }

  /** Begins nothing any more; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#waiting.clear()
    for (const timer of this.#retries.values()) timer.cancel()
    this.#retries.clear()
    await Promise.all(this.#running.values())
  }

  #fill(): void {
    for (const key of this.#waiting) {
      if (this.#running.size >= this.#options.concurrency) return
      if (this.#running.has(key)) continue
      this.#waiting.delete(key)
      this.#running.set(key, this.#run(key))
    }
  }

  async #run(key: string): Promise<void> {
    const outcome = await this.#options.work(key)
    this.#running.delete(key)
    if (this.#isStopped) return
    if (outcome === 'done') this.#backoffs.delete(key)
    else this.#retryLater(key, outcome)
    this.#fill()
  }

  #retryLater(key: string, atLeastMs: number): void {
    const { clock, random, retryInitialMs: initialMs, retryMaxMs: maxMs } = this.#options
    const backoff = this.#backoffs.get(key) ?? new Backoff({ initialMs, maxMs, random })
    this.#backoffs.set(key, backoff)
    this.#waiting.delete(key)
    const timer = clock.startTimer(Math.max(atLeastMs, backoff.next()), () => {
      this.#retries.delete(key)
      this.add(key)
    })
    this.#retries.set(key, timer)
  }
}
