// SPDX-License-Identifier: Apache-2.0
// Programs that load one machine in turn, so that what it does beside falls on all of them and none is in the way of another.
// The turns are by the clock that they share: nobody has to tell them. Pure but for that clock.

/** Short beside what the machine does meanwhile, long beside a request. */
export const TURN_MS = 100

/** Which of how many. */
export interface Turn {
  readonly index: number
  readonly of: number
}

/** There is nobody else. */
export const ALONE: Turn = { index: 0, of: 1 }

/** How long after the begin of a round of turns something comes that is due after `ownMs` of one's own turns. */
export function timeInTurns(ownMs: number, { index, of }: Turn): number {
  const turns = Math.floor(ownMs / TURN_MS)
  return (turns * of + index) * TURN_MS + (ownMs - turns * TURN_MS)
}

/** performance.now() at the begin of the next round of turns: the same moment in all programs; now for who is alone. */
export function nextRoundMs({ of }: Turn): number {
  const roundMs = of === 1 ? 0 : of * TURN_MS - (Date.now() % (of * TURN_MS))
  return performance.now() + roundMs
}
