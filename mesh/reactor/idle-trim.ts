// SPDX-License-Identifier: Apache-2.0
// Gives back what a burst of work left behind once a reactor has become idle. V8 does that from libuv's loop, to which
// a reactor never returns: without this, the memory of the busiest second would stay for hours.
import { getHeapStatistics } from 'node:v8'
import type { Reactor } from './reactor.ts'
import { trimMemory } from './trim-memory.ts'
import { TrimReserve } from './trim-reserve.ts'

/** How often a reactor looks at itself. */
export const IDLE_CHECK_MS = 2000
/** Idle: less than one fiftieth of that was work. Nobody waits long for the collection then. */
const IDLE_SHARE = 0.02
/** Idle for this many looks in a row. */
const IDLE_CHECKS = 2

/** Hears what takes too long for a turn; another thread does it. */
export interface IdleTrimHandler {
  /** Pages of files may have been touched for the last time. */
  readonly onPagesUnused?: () => void
  /** The loop had work since the last look. */
  readonly onBusy?: () => void
}

/** Looks after one reactor, in its thread. */
export class IdleTrim {
  readonly #reactor: Reactor
  readonly #handler: IdleTrimHandler
  readonly #reserve = new TrimReserve(performance.now())
  #busyMs = 0
  #idleChecks = 0
  #owesRelease = false
  /** Collections made. */
  trimCount = 0

  constructor(reactor: Reactor, handler: IdleTrimHandler = {}) {
    this.#reactor = reactor
    this.#handler = handler
  }

  /** Looks from now on, until the reactor stops. */
  start(): void {
    this.#busyMs = this.#reactor.busyMs
    this.#reactor.startTimer(IDLE_CHECK_MS, () => {
      this.#look()
      this.start()
    })
  }

  #look(): void {
    // Not with the trim: the collector's helpers sweep on for a while.
    if (this.#owesRelease) this.#handler.onPagesUnused?.()
    this.#owesRelease = false
    const isIdle = this.#reactor.busyMs - this.#busyMs < IDLE_CHECK_MS * IDLE_SHARE
    this.#reactor.ebb()
    if (!isIdle) this.#handler.onBusy?.()
    this.#idleChecks = isIdle ? this.#idleChecks + 1 : 0
    if (this.#idleChecks < IDLE_CHECKS) return
    const startMs = performance.now()
    if (!this.#reserve.takeIfWorth(heapBytes(), this.#reactor.busyMs, startMs)) return
    this.#reactor.trim()
    trimMemory()
    this.#owesRelease = true
    this.trimCount++
    this.#idleChecks = 0
    const trimMs = performance.now() - startMs
    this.#reactor.onTrimmed(trimMs)
    // The reactor adds up this turn when it has ended.
    this.#reserve.trimmed(heapBytes(), this.#reactor.busyMs + trimMs)
  }
}

function heapBytes(): number {
  return getHeapStatistics().total_heap_size
}
