// SPDX-License-Identifier: Apache-2.0
// A clock that moves only when a test says so.
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'

interface Pending {
  /** In time that has passed, as timers count it. */
  readonly dueMs: number
  readonly order: number
  readonly callback: () => void
}

/** Time under the test's control. Timers fire in the order of their due times, then of their start. */
export class ManualClock implements Clock {
  readonly #startMs: number
  #passedMs = 0
  /** How far the time of day was set away from the time that has passed. */
  #jumpedMs = 0
  #order = 0
  readonly #pending = new Set<Pending>()

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs
  }

  get nowMs(): number {
    return this.#startMs + this.#passedMs + this.#jumpedMs
  }

  /** What has passed since the clock was made: never steps. */
  get passedMs(): number {
    return this.#passedMs
  }

  /** Timers that wait. */
  get pendingCount(): number {
    return this.#pending.size
  }

  /** Milliseconds until the next timer, or undefined. */
  get nextDelayMs(): number | undefined {
    const next = this.#next(Number.POSITIVE_INFINITY)
    return next === undefined ? undefined : next.dueMs - this.#passedMs
  }

  startTimer(delayMs: number, callback: () => void): ClockTimer {
    const pending = { dueMs: this.#passedMs + Math.max(0, delayMs), order: this.#order++, callback }
    this.#pending.add(pending)
    return { cancel: () => void this.#pending.delete(pending) }
  }

  /** Moves time forward and fires what became due on the way. */
  advance(byMs: number): void {
    const endMs = this.#passedMs + byMs
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#pending.delete(next)
      this.#passedMs = next.dueMs
      next.callback()
    }
    this.#passedMs = endMs
  }

  /** Sets the time of day, forward or back; no time passes, so no timer fires. */
  jump(byMs: number): void {
    this.#jumpedMs += byMs
  }

  #next(untilMs: number): Pending | undefined {
    let best: Pending | undefined
    for (const pending of this.#pending) {
      if (pending.dueMs > untilMs) continue
      if (best === undefined || pending.dueMs < best.dueMs) best = pending
      else if (pending.dueMs === best.dueMs && pending.order < best.order) best = pending
    }
    return best
  }
}
