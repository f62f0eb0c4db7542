// SPDX-License-Identifier: Apache-2.0
// Records that came out of the rings together: their bytes as they go to the file, one line each, and what each is. Texts are
// decoded for those who ask.
import { ENTRY_KINDS, type EntryKind, type EntryReader } from './record-ring.ts'

const NEWLINE = 0x0a
/** A few records. Never of Node's pool: a batch is kept for a while, and would keep what others have beside it there. */
const MIN_BYTES = 4096

export class RecordBatch {
  #bytes: Buffer
  #end = 0
  /** Where each line ends, its newline included. */
  readonly #ends: number[] = []
  readonly #kinds: EntryKind[] = []
  readonly #owners: number[] = []

  /** `capacity`: the bytes it will probably have. */
  constructor(capacity = MIN_BYTES) {
    this.#bytes = Buffer.allocUnsafeSlow(capacity)
  }

  /** Appends a record. */
  readonly add: EntryReader = (bytes, offset, length, kind, owner) => {
    const at = this.reserve(length)
    this.commit(at + bytes.copy(this.#bytes, at, offset, offset + length), kind, owner)
  }

  /** Where in `bytes` the next record may be written, of at most `mostBytes`. */
  reserve(mostBytes: number): number {
    if (this.#end + mostBytes >= this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(2 * (this.#end + mostBytes + 1))
      this.#bytes.copy(grown, 0, 0, this.#end)
      this.#bytes = grown
    }
    return this.#end
  }

  /** Appends what was written where reserve() said, up to `end`. */
  commit(end: number, kind: EntryKind, owner: number): void {
    this.#bytes[end] = NEWLINE
    this.#end = end + 1
    this.#ends.push(this.#end)
    this.#kinds.push(kind)
    this.#owners.push(owner)
  }

  /** For who writes in place: others after each reserve(). */
  get bytes(): Buffer {
    return this.#bytes
  }

  get count(): number {
    return this.#ends.length
  }

  /** All lines. The batch's own bytes. */
  get lines(): Buffer {
    return this.#bytes.subarray(0, this.#end)
  }

  /** The record without its newline. */
  textOf(index: number): string {
    const start = index === 0 ? 0 : (this.#ends[index - 1] ?? 0)
    return this.#bytes.toString('utf8', start, (this.#ends[index] ?? start + 1) - 1)
  }

  ownerOf(index: number): number {
    return this.#owners[index] ?? 0
  }

  /** The records that are looked at in each case. */
  notable(): readonly string[] {
    return this.latest(0).map((index) => this.textOf(index))
  }

  /** Indices of the records that are looked at in each case, and of each owner the last `most` of the others; in order. */
  latest(most: number): readonly number[] {
    const counts = new Map<number, number>()
    const kept: number[] = []
    for (let index = this.count - 1; index >= 0; index--) {
      if (this.#kinds[index] !== ENTRY_KINDS.notable) {
        const owner = this.ownerOf(index)
        const count = counts.get(owner) ?? 0
        if (count >= most) continue
        counts.set(owner, count + 1)
      }
      kept.push(index)
    }
    return kept.reverse()
  }
}
