// SPDX-License-Identifier: Apache-2.0
// Wall time and timers for code outside the reactor. Injected everywhere, so that tests own the time.
// This file is the only one that may read the system's clock or start its timers.

/** A pending callback. cancel() may be called at any time, also after it fired. */
export interface ClockTimer {
  cancel(): void
}

/** The time of day, the time that passes, and timers. */
export interface Clock {
  /** Milliseconds since 1970 (wall clock: may step). For dates that others read, never for waiting. */
  readonly nowMs: number
  /** Milliseconds since some moment of this process; goes on whatever the time of day is set to. */
  readonly passedMs: number
  /** Calls `callback` once, not before `delayMs` have passed. Keeps the process alive only where that is asked for. */
  startTimer(delayMs: number, callback: () => void, keepsAlive?: boolean): ClockTimer
}

// setTimeout takes 31 bits; half of a 90-day certificate is more, so long waits are made of several.
const MAX_DELAY_MS = 2_147_483_647

class SystemTimer implements ClockTimer {
  #handle: NodeJS.Timeout
  readonly #callback: () => void
  readonly #keepsAlive: boolean
  #remainingMs: number

  constructor(delayMs: number, callback: () => void, keepsAlive: boolean) {
    this.#callback = callback
    this.#keepsAlive = keepsAlive
    this.#remainingMs = Math.max(0, delayMs)
    this.#handle = this.#startPart()
  }

  cancel(): void {
    clearTimeout(this.#handle)
  }

  #startPart(): NodeJS.Timeout {
    const partMs = Math.min(this.#remainingMs, MAX_DELAY_MS)
    this.#remainingMs -= partMs
    const handle = setTimeout(() => {
      if (this.#remainingMs > 0) this.#handle = this.#startPart()
      else this.#callback()
    }, partMs)
    if (!this.#keepsAlive) handle.unref()
    return handle
  }
}

/** The clock of the machine. */
export const systemClock: Clock = {
  get nowMs(): number {
    return Date.now()
  },
  get passedMs(): number {
    return performance.now()
  },
  startTimer(delayMs: number, callback: () => void, keepsAlive = false): ClockTimer {
    return new SystemTimer(delayMs, callback, keepsAlive)
  },
}
