// SPDX-License-Identifier: Apache-2.0
// How old something saved may be. Pure.
import { type Refusal, refuse } from '../errors/refusal.ts'

/** A saved configuration that no controller has confirmed for longer is not used. */
export const MAX_SNAPSHOT_AGE_MS = 7 * 24 * 3_600_000
/** Clocks are set by so much all the time: a date so far in the future is not worth a word. */
export const CLOCK_SKEW_MS = 120_000

/** An age that may be used. */
export interface SnapshotAge {
  readonly kind: 'age'
  readonly ageMs: number
  /** It was saved at a time that has not come: the clock of now, or of then, is wrong. */
  readonly isFromFuture: boolean
}

/**
 * A date in the future does not speak against what is saved: its MAC says that this node wrote it, and a machine that
 * lost power and starts with a clock of years ago, cut off from time and controller, is whom a snapshot is for. A clock
 * that is wrong the other way makes everything too old; then no certificate is valid either.
 */
export function assessAge(savedMs: number, nowMs: number): SnapshotAge | Refusal {
  const ageMs = nowMs - savedMs
  if (ageMs > MAX_SNAPSHOT_AGE_MS)
    return refuse('SNAPSHOT_TOO_OLD', `last confirmed ${new Date(savedMs).toISOString()}`)
  return { kind: 'age', ageMs: Math.max(0, ageMs), isFromFuture: ageMs < -CLOCK_SKEW_MS }
}
