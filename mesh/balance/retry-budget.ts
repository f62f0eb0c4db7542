// SPDX-License-Identifier: Apache-2.0
// How many of a worker's connects may be second attempts: a share of the first ones, and a few more each second, so that a
// mesh in trouble is not given more load by those who try again (Linkerd's retry budget: ratio and minimum).
import { TokenBucket } from '../runtime/token-bucket.ts'
import { MAX_SAVED_RETRIES, RETRIES_PER_SECOND, RETRY_PERCENT } from './limits.ts'

/** One budget. Time is an argument. */
export class RetryBudget {
  readonly #floor: TokenBucket
  /** Earned by first attempts. */
  #saved = 0

  constructor(nowMs: number) {
    this.#floor = new TokenBucket({ capacity: RETRIES_PER_SECOND, perSecond: RETRIES_PER_SECOND }, nowMs)
  }

  /** Somebody connects for the first time. */
  deposit(): void {
    this.#saved = Math.min(MAX_SAVED_RETRIES, this.#saved + RETRY_PERCENT / 100)
  }

  /** True when one more attempt may be made; it is spent. */
  withdraw(nowMs: number): boolean {
    if (this.#saved < 1) return this.#floor.take(nowMs)
    this.#saved--
    return true
  }
}
