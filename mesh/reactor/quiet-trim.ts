// SPDX-License-Identifier: Apache-2.0
// Gives back what a burst of work left in a thread of ordinary Node: messages, the model before it, half-built objects. V8
// would keep it for an idle process. Waits until the burst is over, because collecting stops the thread for a moment.
import { getHeapStatistics } from 'node:v8'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import { releaseFilePages, trimMemory } from './trim-memory.ts'
import { TrimReserve } from './trim-reserve.ts'

/** Without work for so long a thread is likely to have none for a while. */
export const QUIET_MS = 3000

/** The memory it looks after; that of its own thread unless a test says otherwise. */
export interface TrimmedMemory {
  /** Size of the heap with its free parts, and of what hangs on it outside. */
  readonly heapBytes: () => number
  /** What the thread has worked so far. */
  readonly busyMs: () => number
  readonly trim: () => void
}

const OWN_MEMORY: TrimmedMemory = {
  heapBytes: () => {
    const { total_heap_size, external_memory } = getHeapStatistics()
    return total_heap_size + external_memory
  },
  busyMs: () => {
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1000
  },
  trim: () => {
    trimMemory()
    releaseFilePages()
  },
}

/** Looks after one thread. */
export class QuietTrim {
  readonly #clock: Clock
  readonly #memory: TrimmedMemory
  readonly #reserve: TrimReserve
  #timer: ClockTimer | null = null

  constructor(clock: Clock, memory: TrimmedMemory = OWN_MEMORY) {
    this.#clock = clock
    this.#memory = memory
    this.#reserve = new TrimReserve(clock.passedMs)
  }

  /** Something was done that may have left garbage. */
  onWork(): void {
    this.#timer?.cancel()
    this.#timer = this.#clock.startTimer(QUIET_MS, () => this.#look())
  }

  #look(): void {
    const { heapBytes, busyMs, trim } = this.#memory
    this.#timer = null
    if (!this.#reserve.takeIfWorth(heapBytes(), busyMs(), this.#clock.passedMs)) return
    trim()
    this.#reserve.trimmed(heapBytes(), busyMs())
  }
}
