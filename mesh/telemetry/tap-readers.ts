// SPDX-License-Identifier: Apache-2.0
// Events as they happen, for whoever listens now. A reader has what its socket holds, up to a limit; beyond it events are
// lost for this reader, who is told how many. Nobody waits for anybody.
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import { timeText } from './record-text.ts'

/** Readers at once. */
export const MAX_TAP_READERS = 8
/** Text that waits for one reader; beyond it its events are lost. */
export const MAX_TAP_UNREAD_BYTES = 262_144
/** A blank line this often: who carries the stream notices that its reader is gone. */
const HEARTBEAT_MS = 10_000

/** Where one reader's lines go. */
export interface TapSink {
  write(text: string): void
  /** Written and not yet taken. */
  readonly unreadBytes: number
}

interface Reader<Filter> {
  readonly filter: Filter
  readonly sink: TapSink
  lostCount: number
}

/** All readers of a process; each has a filter. */
export class TapReaders<Filter> {
  readonly #clock: Clock
  readonly #onFilters: (filters: readonly Filter[]) => void
  readonly #readers = new Set<Reader<Filter>>()
  #timer: ClockTimer | null = null

  /** `onFilters` hears what all readers want, whenever one comes or goes: without any nothing need be told. */
  constructor(clock: Clock, onFilters: (filters: readonly Filter[]) => void) {
    this.#clock = clock
    this.#onFilters = onFilters
  }

  /** What is wanted now. */
  get filters(): readonly Filter[] {
    return [...this.#readers].map(({ filter }) => filter)
  }

  get isOn(): boolean {
    return this.#readers.size > 0
  }

  get isFull(): boolean {
    return this.#readers.size >= MAX_TAP_READERS
  }

  /** Adds a reader; returns the function that removes it, which may be called twice. */
  open(filter: Filter, sink: TapSink): () => void {
    const reader: Reader<Filter> = { filter, sink, lostCount: 0 }
    this.#readers.add(reader)
    if (this.#readers.size === 1) this.#startHeartbeat()
    this.#onFilters(this.filters)
    return () => {
      if (!this.#readers.delete(reader)) return
      if (this.#readers.size === 0) this.#timer?.cancel()
      this.#onFilters(this.filters)
    }
  }

  /** An event, for those whose filter wants it; `line` makes its text, without newline. */
  tell(isWanted: (filter: Filter) => boolean, line: () => string): void {
    for (const reader of this.#readers) {
      if (!isWanted(reader.filter)) continue
      if (reader.sink.unreadBytes > MAX_TAP_UNREAD_BYTES) reader.lostCount++
      else {
        this.#tellLost(reader)
        reader.sink.write(`${line()}\n`)
      }
    }
  }

  /** So many events were lost before they came here. */
  lost(count: number): void {
    for (const reader of this.#readers) reader.lostCount += count
  }

  #tellLost(reader: Reader<Filter>): void {
    const { lostCount, sink } = reader
    if (lostCount === 0) return
    reader.lostCount = 0
    sink.write(`{"time":"${timeText(this.#clock.nowMs)}","msg":"events lost","count":${lostCount}}\n`)
  }

  #startHeartbeat(): void {
    this.#timer = this.#clock.startTimer(HEARTBEAT_MS, () => {
      for (const reader of this.#readers) {
        if (reader.sink.unreadBytes > MAX_TAP_UNREAD_BYTES) continue
        this.#tellLost(reader)
        reader.sink.write('\n')
      }
      this.#startHeartbeat()
    })
  }
}
