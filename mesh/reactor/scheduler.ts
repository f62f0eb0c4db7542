// SPDX-License-Identifier: Apache-2.0
// What code above the reactor may ask of time and turns. The reactor implements it; tests use a manual one.

/** A pending callback. cancel() may be called at any time, also after it fired. */
export interface Timer {
  cancel(): void
}

/** Work done once at the end of the running turn; registering it again before it ran is a no-op. */
export interface TurnTask {
  /** The scheduler's mark that the task waits for the end of the turn: a set of tasks costs a collection each turn. */
  isAtTurnEnd: boolean
  runAtTurnEnd(): void
}

/** Time and turns of one reactor. A turn = all events of one epoll_wait, then the registered tasks, in order. */
export interface Scheduler {
  /** Monotonic milliseconds, read once a turn. */
  readonly nowMs: number
  /** Runs `task` at the end of this turn. A task registered while tasks run is run in the same turn, later. */
  atTurnEnd(task: TurnTask): void
  /** Fires not before `delayMs`, at most one tick (10 ms) late plus the length of a turn. */
  startTimer(delayMs: number, callback: () => void): Timer
}
