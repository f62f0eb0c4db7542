// SPDX-License-Identifier: Apache-2.0
// Gives back what a peak took from a process that has gone on working: what compiling left in malloc's arenas, and pages of
// Node's program that its work has touched and does not need. No garbage is collected, so nobody waits for it.
import type { Clock } from '../runtime/clock.ts'
import { readOwnProcess } from '../runtime/own-process.ts'
import { releaseFilePages, trimArenas } from './trim-memory.ts'

/** Two of them are at least so far apart: each costs a few milliseconds, in a thread that carries nothing. */
export const RELEASE_INTERVAL_MS = 5_000
/** When one was in vain the next comes after twice as long, up to this. */
export const MAX_RELEASE_INTERVAL_MS = 20_000
/** It was in vain if less than this has stayed away. */
export const WORTH_BYTES = 4_194_304
const PAGE_BYTES = 4_096

/** The memory it looks after; that of the own process unless a test says otherwise. */
export interface ReleasableMemory {
  /** null: nobody knows now. */
  readonly residentBytes: () => number | null
  readonly release: () => void
}

const OWN_MEMORY: ReleasableMemory = {
  residentBytes: () => {
    const text = readOwnProcess('statm')
    return text === null ? null : Number(text.split(' ')[1]) * PAGE_BYTES
  },
  release: () => {
    trimArenas()
    releaseFilePages()
  },
}

/** Looks after one process. Does nothing by itself. */
export class BusyTrim {
  readonly #clock: Clock
  readonly #memory: ReleasableMemory
  #intervalMs = RELEASE_INTERVAL_MS
  #releasedMs = Number.NEGATIVE_INFINITY
  /** What was resident when the last release began. */
  #beforeBytes = 0

  constructor(clock: Clock, memory: ReleasableMemory = OWN_MEMORY) {
    this.#clock = clock
    this.#memory = memory
  }

  /** Work is going on; to be called every few seconds while that is so. */
  onBusy(): void {
    const nowMs = this.#clock.passedMs
    const passedMs = nowMs - this.#releasedMs
    if (passedMs < RELEASE_INTERVAL_MS) return
    const bytes = this.#memory.residentBytes()
    if (bytes === null) return
    const hasGrown = bytes >= this.#beforeBytes + WORTH_BYTES
    if (!hasGrown && passedMs < this.#intervalMs) return
    const wasWorth = hasGrown || bytes <= this.#beforeBytes - WORTH_BYTES
    this.#intervalMs = wasWorth
      ? RELEASE_INTERVAL_MS
      : Math.min(this.#intervalMs * 2, MAX_RELEASE_INTERVAL_MS)
    this.#beforeBytes = bytes
    this.#releasedMs = nowMs
    this.#memory.release()
  }
}
