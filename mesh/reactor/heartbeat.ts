// SPDX-License-Identifier: Apache-2.0
// Whether a worker's loop still turns: looked at from outside, once in an interval.

/** Between two looks. */
export const HEARTBEAT_INTERVAL_MS = 1000
/** A worker that finishes no turn for this long is ended: its loop wakes every second at the latest. */
export const STUCK_AFTER_MS = 5000
/** … and one that has not finished its first turn: it loads its programs, on a machine that may be busy. */
export const START_WITHIN_MS = 30_000

/** The looks at one worker. */
export class Heartbeat {
  #turns = 0
  /** Looks in a row that found no new turn. Not a time: after a pause of the whole process nobody has had a turn. */
  #missed = 0

  /** `turns`: those the worker has finished, 0 before the first. Null: it lives; else how long it was waited for, in ms. */
  look(turns: number): number | null {
    if (turns !== this.#turns) {
      this.#turns = turns
      this.#missed = 0
      return null
    }
    this.#missed++
    const allowedMs = turns === 0 ? START_WITHIN_MS : STUCK_AFTER_MS
    return this.#missed * HEARTBEAT_INTERVAL_MS > allowedMs ? allowedMs : null
  }
}
