// SPDX-License-Identifier: Apache-2.0
// A hashed timer wheel: start and cancel cost the same with ten timers or a million. Not for precise time:
// one tick is 10 ms, which is what deadlines and pings need.
import type { Timer } from './scheduler.ts'

export const TICK_MS = 10
/** One turn of the wheel is 5.12 s; later timers go round more than once. */
const SLOT_COUNT = 512
/** The loop wakes at least this often, so that stop requests and clocks are noticed. */
export const MAX_SLEEP_MS = 1000

class WheelTimer implements Timer {
  callback: (() => void) | null
  readonly tick: number
  previous: WheelTimer | null = null
  next: WheelTimer | null = null
  readonly #wheel: TimerWheel

  constructor(wheel: TimerWheel, tick: number, callback: () => void) {
    this.#wheel = wheel
    this.tick = tick
    this.callback = callback
  }

  cancel(): void {
    if (this.callback === null) return
    this.callback = null
    this.#wheel.unlink(this)
  }
}

/** Timers of one reactor. Time is given in, never read. */
export class TimerWheel {
  readonly #slots: Array<WheelTimer | null> = new Array(SLOT_COUNT).fill(null)
  #tick: number
  /** Timers started and neither fired nor cancelled. */
  pendingCount = 0

  constructor(nowMs: number) {
    this.#tick = Math.floor(nowMs / TICK_MS)
  }

  start(nowMs: number, delayMs: number, callback: () => void): Timer {
    // Never in the tick that is being fired: a timer that restarts itself with 0 must not loop.
    const tick = Math.max(Math.ceil((nowMs + delayMs) / TICK_MS), this.#tick + 1)
    const timer = new WheelTimer(this, tick, callback)
    const slot = tick % SLOT_COUNT
    const first = this.#slots[slot] ?? null
    timer.next = first
    if (first !== null) first.previous = timer
    this.#slots[slot] = timer
    this.pendingCount++
    return timer
  }

  unlink(timer: WheelTimer): void {
    if (timer.previous !== null) timer.previous.next = timer.next
    else this.#slots[timer.tick % SLOT_COUNT] = timer.next
    if (timer.next !== null) timer.next.previous = timer.previous
    // A dead timer that has grown old would keep its neighbour, that one the next: each of them until a full collection.
    timer.previous = null
    timer.next = null
    this.pendingCount--
  }

  /** Fires everything due at `nowMs`. A callback may start and cancel timers, also those due now. */
  fireDue(nowMs: number): void {
    const target = Math.floor(nowMs / TICK_MS)
    // After a long sleep one round visits every slot; more would visit them twice.
    if (target - this.#tick > SLOT_COUNT) this.#tick = target - SLOT_COUNT
    while (this.#tick < target) {
      this.#tick++
      this.#fireSlot(this.#tick % SLOT_COUNT, target)
    }
  }

  #fireSlot(slot: number, target: number): void {
    let timer = this.#slots[slot] ?? null
    while (timer !== null) {
      if (timer.tick > target) {
        timer = timer.next
        continue
      }
      const callback = timer.callback
      timer.cancel()
      callback?.()
      timer = this.#slots[slot] ?? null // the callback may have changed the list: start again
    }
  }

  /** Milliseconds the loop may sleep, 0…MAX_SLEEP_MS. */
  sleepMs(nowMs: number): number {
    if (this.pendingCount === 0) return MAX_SLEEP_MS
    const last = this.#tick + MAX_SLEEP_MS / TICK_MS
    for (let tick = this.#tick + 1; tick <= last; tick++) {
      for (let timer = this.#slots[tick % SLOT_COUNT] ?? null; timer !== null; timer = timer.next) {
        if (timer.tick <= tick) return Math.max(0, Math.ceil(tick * TICK_MS - nowMs))
      }
    }
    return MAX_SLEEP_MS
  }
}
