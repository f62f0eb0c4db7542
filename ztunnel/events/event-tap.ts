// SPDX-License-Identifier: Apache-2.0
// Events as they happen, for whoever listens now. A reader has what its socket holds, up to a limit; beyond it events are
// lost for this reader, who is told how many. Nobody waits for anybody.
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import { formatEvent } from './event-line.ts'
import { isWanted, type TapFilter } from './tap-filter.ts'

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

interface Reader {
  readonly filter: TapFilter
  readonly sink: TapSink
  lostCount: number
}

/** All readers of a node. */
export class EventTap {
  readonly #clock: Clock
  readonly #onSwitch: (isOn: boolean) => void
  readonly #readers = new Set<Reader>()
  #timer: ClockTimer | null = null

  /** `onSwitch` hears of the first reader and of the end of the last one: opened connections are told only between. */
  constructor(clock: Clock, onSwitch: (isOn: boolean) => void) {
    this.#clock = clock
    this.#onSwitch = onSwitch
  }

  get isOn(): boolean {
    return this.#readers.size > 0
  }

  get isFull(): boolean {
    return this.#readers.size >= MAX_TAP_READERS
  }

  /** Adds a reader; returns the function that removes it, which may be called twice. */
  open(filter: TapFilter, sink: TapSink): () => void {
    const reader: Reader = { filter, sink, lostCount: 0 }
    this.#readers.add(reader)
    if (this.#readers.size === 1) {
      this.#onSwitch(true)
      this.#startHeartbeat()
    }
    return () => {
      if (!this.#readers.delete(reader) || this.isOn) return
      this.#timer?.cancel()
      this.#onSwitch(false)
    }
  }

  /** `pod` is `namespace/name`, `line` its event. */
  onEvent(pod: string, line: string): void {
    for (const reader of this.#readers) {
      if (!isWanted(reader.filter, pod, line)) continue
      if (reader.sink.unreadBytes > MAX_TAP_UNREAD_BYTES) reader.lostCount++
      else {
        this.#tellLost(reader)
        reader.sink.write(`{"pod":${JSON.stringify(pod)},${line.slice(1)}\n`)
      }
    }
  }

  #tellLost(reader: Reader): void {
    const { lostCount, sink } = reader
    if (lostCount === 0) return
    reader.lostCount = 0
    sink.write(`${formatEvent(this.#clock.nowMs, { msg: 'events lost', count: lostCount })}\n`)
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
