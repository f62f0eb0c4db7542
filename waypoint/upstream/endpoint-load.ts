// SPDX-License-Identifier: Apache-2.0
// How busy and how slow an endpoint is, as far as this worker knows. Slowness is a peak-sensitive moving average of the time
// to the answer’s head: a slow answer counts at once, fast ones win trust back over time, and what is old is forgotten.
import { LATENCY_DECAY_MS } from './limits.ts'

/** Latencies that differ by less than this factor are alike: noise must not send everybody to one endpoint. */
const ALIKE = 2
/** Added to both before they are compared: below it a difference is nobody’s. */
const FLOOR_MS = 1

/** What is compared. */
export interface Load {
  readonly capacity: number
  /** Requests of this worker that are under way there. */
  readonly outstanding: number
  readonly latency: Latency
}

/** Moving average of one endpoint. Time is an argument. */
export class Latency {
  #averageMs = -1
  #atMs = 0

  /** Of answers that are no failures: those are often fast. */
  note(latencyMs: number, nowMs: number): void {
    const averageMs = this.averageMs(nowMs)
    const kept = Math.exp(-Math.max(0, nowMs - this.#atMs) / LATENCY_DECAY_MS)
    // Answers that come close together still move it.
    const weight = Math.min(kept, 0.9)
    const isPeak = averageMs < 0 || latencyMs > averageMs
    this.#averageMs = isPeak ? latencyMs : averageMs * weight + latencyMs * (1 - weight)
    this.#atMs = nowMs
  }

  /** −1: unknown. It fades while nobody asks, so that a slow endpoint gets another chance. */
  averageMs(nowMs: number): number {
    if (this.#averageMs < 0) return -1
    return this.#averageMs * Math.exp(-Math.max(0, nowMs - this.#atMs) / LATENCY_DECAY_MS)
  }
}

/** True when `second` should rather get the next request: fewer under way for its weight, each as dear as it is slow. */
export function isLessLoaded(second: Load, first: Load, nowMs: number): boolean {
  const ratio = latencyRatio(second.latency.averageMs(nowMs), first.latency.averageMs(nowMs))
  return (second.outstanding / second.capacity + 1) * ratio < first.outstanding / first.capacity + 1
}

/** How many times as slow the second is; 1: alike, or nobody knows. */
function latencyRatio(secondMs: number, firstMs: number): number {
  if (secondMs < 0 || firstMs < 0) return 1
  const ratio = (secondMs + FLOOR_MS) / (firstMs + FLOOR_MS)
  return ratio > ALIKE || ratio < 1 / ALIKE ? ratio : 1
}
