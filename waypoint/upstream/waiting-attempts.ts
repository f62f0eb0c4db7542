// SPDX-License-Identifier: Apache-2.0
// The requests that wait for a connection of one pool, in the order in which they came, each with its place among those of
// the cluster. None waits for ever.
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import type { ClusterGauges } from './cluster-gauges.ts'
import { PENDING_TIMEOUT_MS } from './limits.ts'
import type { OpenAttempt } from './open-attempt.ts'

export class WaitingAttempts {
  readonly #gauges: ClusterGauges
  readonly #scheduler: Scheduler
  readonly #onOverdue: (attempt: OpenAttempt) => void
  /** When each began to wait. */
  readonly #sinceMs = new Map<OpenAttempt, number>()
  /** Runs while somebody waits. */
  #timer: Timer | null = null

  /** `onOverdue`: this one has waited PENDING_TIMEOUT_MS, and waits no more. */
  constructor(gauges: ClusterGauges, scheduler: Scheduler, onOverdue: (attempt: OpenAttempt) => void) {
    this.#gauges = gauges
    this.#scheduler = scheduler
    this.#onOverdue = onOverdue
  }

  get size(): number {
    return this.#sinceMs.size
  }

  /** The first come first; one may be removed meanwhile. */
  [Symbol.iterator](): Iterator<OpenAttempt> {
    return this.#sinceMs.keys()
  }

  add(attempt: OpenAttempt): void {
    this.#sinceMs.set(attempt, this.#scheduler.nowMs)
    this.#gauges.add('pending', 1)
    this.#watch()
  }

  /** Does nothing for one that does not wait. */
  remove(attempt: OpenAttempt): void {
    if (!this.#sinceMs.delete(attempt)) return
    this.#gauges.add('pending', -1)
    if (this.#sinceMs.size > 0) return
    this.#timer?.cancel()
    this.#timer = null
  }

  /** Who came first waits longest: one timer is enough. */
  #watch(): void {
    const [oldest] = this.#sinceMs.values()
    if (oldest === undefined || this.#timer !== null) return
    this.#timer = this.#scheduler.startTimer(oldest + PENDING_TIMEOUT_MS - this.#scheduler.nowMs, () => {
      this.#timer = null
      for (const [attempt, sinceMs] of this.#sinceMs) {
        if (this.#scheduler.nowMs - sinceMs < PENDING_TIMEOUT_MS) break
        this.remove(attempt)
        this.#onOverdue(attempt)
      }
      this.#watch()
    })
  }
}
