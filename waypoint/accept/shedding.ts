// SPDX-License-Identifier: Apache-2.0
// Lets go of a part of the connections of callers, so that they are opened again where there is more room: a new instance of
// the waypoint. None is cut: each is told with its next answer that it is the last one, or by a GOAWAY. Spread over time,
// so that callers do not all connect at once, and begun when nodes know of the instance too.
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'

/** Nodes have heard of a new instance by then. */
export const SHED_DELAY_MS = 2_000
/** From the first to the last of the connections that are let go of: a new instance is filled within half a minute. */
export const SHED_SPREAD_MS = 10_000
/** How often some of them are. */
const STEP_MS = 250

/** A connection that can be asked to move. */
export interface Movable {
  drain(): void
}

export class Shedding {
  readonly #scheduler: Scheduler
  readonly #random: () => number
  readonly #timers = new Set<Timer>()

  constructor(scheduler: Scheduler, random: () => number) {
    this.#scheduler = scheduler
    this.#random = random
  }

  /** `part` of those that `list` has when it begins. */
  start(part: number, list: () => readonly Movable[]): void {
    this.#after(SHED_DELAY_MS, () => {
      const chosen = choose(list(), part, this.#random)
      const steps = SHED_SPREAD_MS / STEP_MS
      const perStep = chosen.length / steps
      const step = (index: number, done: number): void => {
        const due = Math.min(chosen.length, Math.ceil(perStep * (index + 1)))
        for (const each of chosen.slice(done, due)) each.drain()
        if (due < chosen.length) this.#after(STEP_MS, () => step(index + 1, due))
      }
      step(0, 0)
    })
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  #after(delayMs: number, run: () => void): void {
    const timer = this.#scheduler.startTimer(delayMs, () => {
      this.#timers.delete(timer)
      run()
    })
    this.#timers.add(timer)
  }
}

/** So many of a list, by chance, and rather one more: whoever moves in vain comes back to where there is room. */
export function choose<T>(list: readonly T[], part: number, random: () => number): readonly T[] {
  const count = Math.ceil(list.length * part)
  const shuffled = [...list]
  for (let index = 0; index < Math.min(count, shuffled.length); index++) {
    const other = index + Math.floor(random() * (shuffled.length - index))
    const [left, right] = [shuffled[index], shuffled[other]]
    if (left === undefined || right === undefined) break
    shuffled[index] = right
    shuffled[other] = left
  }
  return shuffled.slice(0, count)
}
