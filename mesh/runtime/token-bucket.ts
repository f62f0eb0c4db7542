// SPDX-License-Identifier: Apache-2.0
// How often something may happen: so many at once, then so many per second. Time is an argument; a clock that steps
// back gives nothing and takes nothing.

/** What a TokenBucket is made of. */
export interface TokenBucketOptions {
  /** What may happen at once; what an idle bucket saves up. */
  readonly capacity: number
  readonly perSecond: number
}

/** One bucket, full at first. */
export class TokenBucket {
  readonly #options: TokenBucketOptions
  #tokens: number
  #atMs: number

  constructor(options: TokenBucketOptions, nowMs: number) {
    this.#options = options
    this.#tokens = options.capacity
    this.#atMs = nowMs
  }

  /** Takes one token; false when there is none. */
  take(nowMs: number): boolean {
    this.#refill(nowMs)
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  /** True when there is a token to take. */
  hasToken(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#tokens >= 1
  }

  /** True when nothing was taken for so long that a new bucket would be the same. */
  isFull(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#tokens >= this.#options.capacity
  }

  #refill(nowMs: number): void {
    const { capacity, perSecond } = this.#options
    const elapsedMs = Math.max(0, nowMs - this.#atMs)
    this.#tokens = Math.min(capacity, this.#tokens + (elapsedMs / 1000) * perSecond)
    this.#atMs = nowMs
  }
}
