// SPDX-License-Identifier: Apache-2.0
// Takes connection records out of the workers' rings and writes them. A slow or full disk holds up nobody: what does
// not fit is dropped and counted, and the last records stay in memory for the admin API.
import { createWriteStream, type WriteStream } from 'node:fs'
import type { Log } from '../runtime/log.ts'
import { RecordBatch } from './record-batch.ts'
import { RecordDecoder } from './record-decoder.ts'
import { ENTRY_KINDS, type RecordRing } from './record-ring.ts'

/** How often the rings are emptied. */
const DRAIN_INTERVAL_MS = 100
/** Records kept for the admin API. */
export const RECENT_RECORDS = 1000
/** Text waiting for the disk; beyond it records are dropped. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024
/** A batch has room for somewhat more than the one before it would have needed. */
const GROWTH_MARGIN = 1.1
/** A file that failed is opened again after this. */
const REOPEN_MS = 1000

/** Hears of what comes out of the rings. */
export interface RecordListener {
  onRecords(batch: RecordBatch): void
  /** A line that is no record. */
  onAside(line: string): void
}

/** Writes the records of all workers. */
export class RecordWriter {
  /** Records lost here: the disk was full, slow or gone. */
  droppedCount = 0
  readonly #rings: () => readonly RecordRing[]
  readonly #target: string
  readonly #log: Log
  readonly #listener: RecordListener
  /** The last batches: together they have what is kept, and the first of them is needed for that. */
  readonly #recent: RecordBatch[] = []
  #recentCount = 0
  readonly #decoders = new Map<RecordRing, RecordDecoder>()
  /** How many times as long lines are as what was in the rings, about. */
  #growth = 1
  #out: WriteStream | NodeJS.WriteStream | null = null
  #timer: NodeJS.Timeout | null = null
  #retryAtMs = 0
  /** The last write broke off, perhaps within a line. */
  #mayBeTorn = false
  #lastWarnedMs = Number.NEGATIVE_INFINITY

  /** `target`: stdout, off, or a file name. `listener` hears of each, also where none is written. */
  constructor(target: string, rings: () => readonly RecordRing[], log: Log, listener: RecordListener) {
    this.#listener = listener
    this.#target = target
    this.#rings = rings
    this.#log = log
  }

  start(): void {
    this.#timer = setInterval(() => this.drain(), DRAIN_INTERVAL_MS)
    this.#timer.unref()
  }

  /** Takes everything there is now. */
  drain(): void {
    const rings = this.#rings()
    const unreadBytes = rings.reduce((sum, ring) => sum + ring.unreadBytes, 0)
    if (unreadBytes === 0) return
    let batch = new RecordBatch(Math.ceil(unreadBytes * this.#growth))
    for (const ring of rings) {
      const decoder = this.#decoderOf(ring)
      ring.drain((bytes, offset, length, kind, owner) => {
        if (kind === ENTRY_KINDS.pair) decoder.learn(owner, offset, length)
        else if (kind === ENTRY_KINDS.brief) {
          if (!decoder.addTo(batch, offset, length, owner)) this.#drop(1)
        } else if (kind !== ENTRY_KINDS.aside) batch.add(bytes, offset, length, kind, owner)
        else {
          // What came before it is heard of before it.
          this.#take(batch)
          batch = new RecordBatch()
          this.#listener.onAside(bytes.toString('utf8', offset, offset + length))
        }
      })
    }
    this.#growth = GROWTH_MARGIN * Math.max(1, batch.lines.length / unreadBytes)
    this.#take(batch)
  }

  #decoderOf(ring: RecordRing): RecordDecoder {
    const decoder = this.#decoders.get(ring) ?? new RecordDecoder(ring)
    this.#decoders.set(ring, decoder)
    return decoder
  }

  #take(batch: RecordBatch): void {
    if (batch.count === 0) return
    this.#remember(batch)
    this.#listener.onRecords(batch)
    if (this.#target !== 'off') this.#write(batch)
  }

  /** The last records, oldest first. */
  recent(): readonly string[] {
    const lines: string[] = []
    let skipped = this.#recentCount - RECENT_RECORDS
    for (const batch of this.#recent)
      for (let index = 0; index < batch.count; index++) if (skipped-- <= 0) lines.push(batch.textOf(index))
    return lines
  }

  /** Records lost anywhere: in full rings or here. */
  get lostCount(): number {
    return this.droppedCount + this.#rings().reduce((sum, ring) => sum + ring.droppedCount, 0)
  }

  /** Writes what is left and closes. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.drain()
    const out = this.#out
    if (out === null || out === process.stdout) return
    await new Promise<void>((resolve) => {
      out.once('error', () => resolve())
      out.end(() => resolve())
    })
  }

  #remember(batch: RecordBatch): void {
    this.#recent.push(batch)
    this.#recentCount += batch.count
    for (let [first] = this.#recent; first !== undefined; [first] = this.#recent) {
      if (this.#recentCount - first.count < RECENT_RECORDS) return
      this.#recent.shift()
      this.#recentCount -= first.count
    }
  }

  #write({ lines, count }: RecordBatch): void {
    const out = this.#open()
    if (out === null || out.writableLength > MAX_UNWRITTEN_BYTES) {
      this.#drop(count)
      return
    }
    // A line that a full disk has cut stays alone: the next one starts on a line of its own.
    if (this.#mayBeTorn) out.write('\n')
    out.write(lines, (error) => {
      if (error) this.#drop(count)
    })
    this.#mayBeTorn = false
  }

  #drop(count: number): void {
    this.droppedCount += count
    const nowMs = performance.now()
    if (nowMs - this.#lastWarnedMs < REOPEN_MS) return
    this.#lastWarnedMs = nowMs
    this.#log.warn({ reason: 'RECORDS_DROPPED', dropped: this.droppedCount }, 'connection records dropped')
  }

  #open(): WriteStream | NodeJS.WriteStream | null {
    if (this.#out !== null || performance.now() < this.#retryAtMs) return this.#out
    const out = this.#target === 'stdout' ? process.stdout : createWriteStream(this.#target, { flags: 'a' })
    out.on('error', (cause) => {
      this.#log.warn({ reason: 'RECORDS_DROPPED', err: cause }, 'records cannot be written')
      this.#out = null
      this.#mayBeTorn = true
      this.#retryAtMs = performance.now() + REOPEN_MS
    })
    this.#out = out
    return out
  }
}
