// SPDX-License-Identifier: Apache-2.0
// Looks after a connection of which one half has ended: when nothing moves on the other half for too long, nobody will
// ever end it. Looks now and then instead of noting each byte: moving bytes stays free of it.
import type { Scheduler, Timer } from './scheduler.ts'

/** How often a half-closed connection is looked at, at least. */
const LOOK_MS = 60_000

/** When connections that are half closed have to end. */
export interface HalfClosePolicy {
  readonly scheduler: Scheduler
  /** Infinity: never. */
  readonly timeoutMs: number
}

/** One connection. Made when its first half ends, stopped when it is closed. */
export class HalfCloseWatch {
  readonly #policy: HalfClosePolicy
  readonly #countBytes: () => number
  readonly #onTimeout: () => void
  readonly #lookMs: number
  #timer: Timer
  #bytes: number
  #movedMs: number

  /** `countBytes`: all that has moved so far, both ways. */
  constructor(policy: HalfClosePolicy, countBytes: () => number, onTimeout: () => void) {
    this.#policy = policy
    this.#countBytes = countBytes
    this.#onTimeout = onTimeout
    this.#lookMs = Math.min(LOOK_MS, policy.timeoutMs)
    this.#bytes = countBytes()
    this.#movedMs = policy.scheduler.nowMs
    this.#timer = policy.scheduler.startTimer(this.#lookMs, () => this.#look())
  }

  /** How long nothing has moved; at most LOOK_MS less than it is in truth. */
  get stalledMs(): number {
    return this.#countBytes() === this.#bytes ? this.#policy.scheduler.nowMs - this.#movedMs : 0
  }

  stop(): void {
    this.#timer.cancel()
  }

  #look(): void {
    const { nowMs } = this.#policy.scheduler
    const bytes = this.#countBytes()
    if (bytes !== this.#bytes) {
      this.#bytes = bytes
      this.#movedMs = nowMs
    }
    const leftMs = this.#policy.timeoutMs - (nowMs - this.#movedMs)
    if (leftMs <= 0) this.#onTimeout()
    else this.#timer = this.#policy.scheduler.startTimer(Math.min(this.#lookMs, leftMs), () => this.#look())
  }
}
