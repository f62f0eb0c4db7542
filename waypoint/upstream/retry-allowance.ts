// SPDX-License-Identifier: Apache-2.0
// How many requests of a cluster may be tried again at one time: a share of those under way, so that a service in trouble is
// not given more load by those who try again. SPEC ENVOY RetryBudget, and max_retries of the circuit breaker.
import type { ClusterGauges } from './cluster-gauges.ts'
import { UPSTREAM_MIN_RETRIES, UPSTREAM_RETRY_PERCENT } from './limits.ts'

/** Retries that may be under way. */
export function allowedRetries(activeRequests: number, maxRetries: number): number {
  const share = Math.floor((activeRequests * UPSTREAM_RETRY_PERCENT) / 100)
  return Math.min(maxRetries, Math.max(UPSTREAM_MIN_RETRIES, share))
}

/** A place among the retries; give it back when the attempt has ended. */
export class RetryPlace {
  readonly #gauges: ClusterGauges
  #isHeld = true

  constructor(gauges: ClusterGauges) {
    this.#gauges = gauges
    gauges.add('retries', 1)
  }

  /** May be called twice. */
  giveBack(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#gauges.add('retries', -1)
  }
}
