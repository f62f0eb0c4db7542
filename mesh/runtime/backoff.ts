// SPDX-License-Identifier: Apache-2.0
// How long to wait before trying again: doubles, is spread by jitter, has a ceiling. One per thing retried.

/** What a Backoff is made of. */
export interface BackoffOptions {
  /** Nominal first delay. */
  readonly initialMs: number
  /** No delay is longer, jitter included. */
  readonly maxMs: number
  /** Share of the nominal delay by which it may deviate either way, 0–1. Default 0.2. */
  readonly jitter?: number
  /** Uniform in [0, 1). */
  readonly random: () => number
}

const DEFAULT_JITTER = 0.2 // what the ecosystem's proxies use: enough to part clients that failed together

/** Exponential delays. next() grows, reset() starts again after a success. */
export class Backoff {
  readonly #options: BackoffOptions
  #nominalMs: number

  constructor(options: BackoffOptions) {
    this.#options = options
    this.#nominalMs = options.initialMs
  }

  /** The delay before the next attempt, in milliseconds. */
  next(): number {
    const { maxMs, random, jitter = DEFAULT_JITTER } = this.#options
    const delayMs = this.#nominalMs * (1 + jitter * (2 * random() - 1))
    this.#nominalMs = Math.min(maxMs, this.#nominalMs * 2)
    return Math.min(maxMs, Math.round(delayMs))
  }

  /** The next delay is the first again. */
  reset(): void {
    this.#nominalMs = this.#options.initialMs
  }
}
