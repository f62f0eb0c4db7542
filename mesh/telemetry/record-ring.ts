// SPDX-License-Identifier: Apache-2.0
// Connection records on their way from a worker to main: a byte ring in shared memory, one writer, one reader. A full
// ring drops the record and counts it: a stalled log must never stall traffic.

/** Room for about 4,000 records of 500 bytes between two reads. */
export const RECORD_RING_BYTES = 2_097_152
/** A record longer than this is cut. Its fields are bounded so that even escaped ones stay below. */
const MAX_RECORD_BYTES = 16_384
const HEAD = 0
const TAIL = 1
const DROPPED = 2
const HEADER_BYTES = 16
/** Length word meaning: the rest up to the end of the ring is unused. */
const WRAP = -1

/** The ring of one worker. Positions grow without bound modulo 2³¹ and are masked on use. */
export class RecordRing {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #bytes: Buffer
  readonly #size: number

  /** `memory` from another thread, or new with room for `byteLength` (a power of two). */
  constructor(memory?: SharedArrayBuffer, byteLength = RECORD_RING_BYTES) {
    this.memory = memory ?? new SharedArrayBuffer(HEADER_BYTES + byteLength)
    this.#size = this.memory.byteLength - HEADER_BYTES
    this.#words = new Int32Array(this.memory, 0, 4)
    this.#bytes = Buffer.from(this.memory, HEADER_BYTES)
  }

  /** Records lost because the ring was full. */
  get droppedCount(): number {
    return Atomics.load(this.#words, DROPPED)
  }

  /** Appends one record; false when it was dropped. Writer only. */
  push(text: string): boolean {
    const head = Atomics.load(this.#words, HEAD)
    const free = this.#size - ((head - Atomics.load(this.#words, TAIL)) & 0x7fffffff)
    const offset = head % this.#size
    // A UTF-16 unit takes at most three bytes. With room for that, nobody has to measure the text first.
    const mostBytes = text.length * 3
    if (mostBytes <= MAX_RECORD_BYTES && mostBytes + 8 < Math.min(free, this.#size - offset)) {
      this.#append(head, offset, this.#bytes.write(text, offset + 4, mostBytes, 'utf8'))
      return true
    }
    const length = Math.min(Buffer.byteLength(text), MAX_RECORD_BYTES)
    const untilEnd = this.#size - offset
    const skipped = untilEnd < paddedBytes(length) ? untilEnd : 0
    if (skipped + paddedBytes(length) >= free) {
      Atomics.add(this.#words, DROPPED, 1)
      return false
    }
    if (skipped > 0) this.#bytes.writeInt32LE(WRAP, offset)
    const start = (head + skipped) % this.#size
    this.#bytes.write(text, start + 4, length, 'utf8')
    this.#append(head + skipped, start, length)
    return true
  }

  /** Publishes a record whose text is in place. */
  #append(head: number, offset: number, length: number): void {
    this.#bytes.writeInt32LE(length, offset)
    Atomics.store(this.#words, HEAD, (head + paddedBytes(length)) & 0x7fffffff)
  }

  /** Takes all records, oldest first. Reader only. */
  drain(onRecord: (text: string) => void): void {
    let tail = Atomics.load(this.#words, TAIL)
    const head = Atomics.load(this.#words, HEAD)
    while (tail !== head) {
      const offset = tail % this.#size
      const length = this.#bytes.readInt32LE(offset)
      if (length === WRAP) {
        tail = (tail + this.#size - offset) & 0x7fffffff
        continue
      }
      onRecord(this.#bytes.toString('utf8', offset + 4, offset + 4 + length))
      tail = (tail + paddedBytes(length)) & 0x7fffffff
    }
    Atomics.store(this.#words, TAIL, tail)
  }
}

/** What a record of `length` bytes takes in the ring: its length word and padding to whole words. */
function paddedBytes(length: number): number {
  return (length + 4 + 3) & ~3
}
