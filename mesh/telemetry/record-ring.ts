// SPDX-License-Identifier: Apache-2.0
// Records on their way from a worker to main: a byte ring in shared memory, one writer, one reader. A full ring drops the
// record and counts it: a stalled log must never stall traffic. What main has to know of a record stands before its text, so
// that it decodes only those that somebody asks for.
import { plainBytes } from '../reactor/ffi/native.ts'

/** Room for about 4,000 records of 500 bytes between two reads. */
export const RECORD_RING_BYTES = 2_097_152
/** A record longer than this is cut. Its fields are bounded so that even escaped ones stay below. */
const MAX_RECORD_BYTES = 16_384
const HEAD = 0
const TAIL = 1
const DROPPED = 2
/** All before it was read when an entry was written there. */
const BASE = 3
/** Of positions, which are of 31 bits. */
const MASK = 0x7fffffff
const HEADER_BYTES = 16
/** Length word meaning: the rest up to the end of the ring is unused. */
const WRAP = -1
/** Before the text: its length, what it is and whose, each a word. */
const ENTRY_HEADER_BYTES = 12

/** What an entry is: so that a reader knows without its text. */
export const ENTRY_KINDS = {
  /** A record of something that went well: one of many. */
  record: 0,
  /** A record that somebody looks at in each case. */
  notable: 1,
  /** No record: it is told, and written into no file. */
  aside: 2,
  /** A record of something that went well, in short: see record-brief.ts. */
  brief: 3,
  /** What is left out of those: told under a number in place of an owner. */
  pair: 4,
} as const
export type EntryKind = (typeof ENTRY_KINDS)[keyof typeof ENTRY_KINDS]

/** Takes one entry: its text are `length` bytes from `offset`, which are the ring's and change after the call. */
export type EntryReader = (
  bytes: Buffer,
  offset: number,
  length: number,
  kind: EntryKind,
  owner: number,
) => void

/** The ring of one worker. Positions grow without bound modulo 2³¹ and are masked on use. */
export class RecordRing {
  readonly memory: SharedArrayBuffer
  /** Of its entries, for whoever writes one in place: see reserve(). */
  readonly bytes: Buffer
  readonly #words: Int32Array
  readonly #entries: Int32Array
  readonly #size: number

  /** `memory` from another thread, or new with room for `byteLength` (a power of two). */
  constructor(memory?: SharedArrayBuffer, byteLength = RECORD_RING_BYTES) {
    this.memory = memory ?? new SharedArrayBuffer(HEADER_BYTES + byteLength)
    this.#size = this.memory.byteLength - HEADER_BYTES
    this.#words = new Int32Array(this.memory, 0, 4)
    this.#entries = new Int32Array(this.memory, HEADER_BYTES)
    this.bytes = plainBytes(this.memory, HEADER_BYTES)
  }

  /** Records lost because the ring was full. */
  get droppedCount(): number {
    return Atomics.load(this.#words, DROPPED)
  }

  /** Bytes of entries that nobody has read yet, at most. */
  get unreadBytes(): number {
    const head = Atomics.load(this.#words, HEAD)
    return distance(this.#unreadFrom(head), head)
  }

  /** Appends one entry; false when it was dropped. `owner`: any number that says whose it is. Writer only. */
  push(text: string, kind: EntryKind = ENTRY_KINDS.record, owner = 0): boolean {
    // A UTF-16 unit takes at most three bytes. With room for that, nobody has to measure the text first.
    const mostBytes = text.length * 3
    const at = this.reserve(mostBytes)
    if (at >= 0) {
      this.commit(this.bytes.write(text, at, mostBytes, 'utf8'), kind, owner)
      return true
    }
    const head = Atomics.load(this.#words, HEAD)
    const free = this.#size - distance(this.#unreadFrom(head), head)
    const offset = head % this.#size
    const length = Math.min(Buffer.byteLength(text), MAX_RECORD_BYTES)
    const untilEnd = this.#size - offset
    const skipped = untilEnd < entryBytes(length) ? untilEnd : 0
    if (skipped + entryBytes(length) >= free) {
      Atomics.add(this.#words, DROPPED, 1)
      return false
    }
    if (skipped > 0) this.#entries[offset >> 2] = WRAP
    const start = (head + skipped) % this.#size
    this.bytes.write(text, start + ENTRY_HEADER_BYTES, length, 'utf8')
    this.#append(head + skipped, start, length, kind, owner)
    return true
  }

  /** Where in `bytes` the text of the next entry may be written, of at most `mostBytes`; -1: push() has to look. Writer only. */
  reserve(mostBytes: number): number {
    let head = Atomics.load(this.#words, HEAD)
    let unread = this.#unreadFrom(head)
    // Before it is so far behind that it seems to be ahead.
    if (distance(Atomics.load(this.#words, BASE), head) > MASK >> 1) Atomics.store(this.#words, BASE, unread)
    if (unread === head && head % this.#size > 0) head = unread = this.#beginAnew(head)
    const free = this.#size - distance(unread, head)
    const offset = head % this.#size
    const hasRoom =
      mostBytes <= MAX_RECORD_BYTES && entryBytes(mostBytes) < Math.min(free, this.#size - offset)
    return hasRoom ? offset + ENTRY_HEADER_BYTES : -1
  }

  /** Appends what was written where reserve() said: its first `length` bytes. Writer only. */
  commit(length: number, kind: EntryKind, owner: number): void {
    const head = Atomics.load(this.#words, HEAD)
    this.#append(head, head % this.#size, length, kind, owner)
  }

  /**
   * All was read, and the next entry is at the beginning of the ring: as much of it is used as comes between two reads, which
   * stays in the caches. Returns the position.
   */
  #beginAnew(head: number): number {
    const position = (head + this.#size - (head % this.#size)) & MASK
    Atomics.store(this.#words, BASE, position)
    Atomics.store(this.#words, HEAD, position)
    return position
  }

  /** The position of the oldest entry before `head` that was not read: nothing is between what was read and BASE. */
  #unreadFrom(head: number): number {
    const tail = Atomics.load(this.#words, TAIL)
    const base = Atomics.load(this.#words, BASE)
    return distance(base, head) < distance(tail, head) ? base : tail
  }

  /** Publishes an entry whose text is in place. */
  #append(head: number, offset: number, length: number, kind: EntryKind, owner: number): void {
    const at = offset >> 2
    this.#entries[at] = length
    this.#entries[at + 1] = kind
    this.#entries[at + 2] = owner
    Atomics.store(this.#words, HEAD, (head + entryBytes(length)) & MASK)
  }

  /** Takes all entries, oldest first. Reader only. */
  drain(onEntry: EntryReader): void {
    const head = Atomics.load(this.#words, HEAD)
    let tail = this.#unreadFrom(head)
    while (tail !== head) {
      const offset = tail % this.#size
      const at = offset >> 2
      const length = this.#entries[at] ?? 0
      if (length === WRAP) {
        tail = (tail + this.#size - offset) & MASK
        continue
      }
      const kind = (this.#entries[at + 1] ?? 0) as EntryKind // as: written by push
      onEntry(this.bytes, offset + ENTRY_HEADER_BYTES, length, kind, this.#entries[at + 2] ?? 0)
      tail = (tail + entryBytes(length)) & MASK
    }
    Atomics.store(this.#words, TAIL, tail)
  }
}

/** From one position to a later one. */
function distance(from: number, to: number): number {
  return (to - from) & MASK
}

/** What an entry with `length` bytes of text takes in the ring: its head and padding to whole words. */
function entryBytes(length: number): number {
  return (length + ENTRY_HEADER_BYTES + 3) & ~3
}
