// SPDX-License-Identifier: Apache-2.0
// Walks over DER (ITU-T X.690) element by element, without making an object of each: a revocation list has ten thousand
// entries. Input is hostile: every step is checked against what is left, nothing throws.

/** Tags of the universal class that certificates and lists are made of. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const

/** A cursor over the elements of one level. */
export class DerReader {
  /** Tag of the current element. */
  tag = -1
  /** Where the current element begins, where its content does, and where both end. */
  head = 0
  start = 0
  stop = 0
  readonly #bytes: Buffer
  readonly #end: number

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes
    this.stop = start
    this.#end = end
  }

  /** Goes to the next element; false at the end and before anything that is no DER. */
  next(): boolean {
    const bytes = this.#bytes
    const at = this.stop
    this.tag = -1
    if (at + 2 > this.#end) return false
    const first = bytes[at + 1] ?? 0
    let start = at + 2
    let length = first
    if (first >= 0x80) {
      const count = first & 0x7f
      if (count < 1 || count > 4 || start + count > this.#end) return false
      length = bytes.readUIntBE(start, count)
      // SPEC X690 §10.1: as few octets as can be.
      if (length < 0x80 || length < 2 ** (8 * (count - 1))) return false
      start += count
    }
    if (start + length > this.#end) return false
    this.tag = bytes[at] ?? -1
    this.head = at
    this.start = start
    this.stop = start + length
    return true
  }

  /** Goes to the next element, which must be of this kind. */
  nextIs(tag: number): boolean {
    return this.next() && this.tag === tag
  }

  /** True when nothing is left, not even something that cannot be read. */
  get isAtEnd(): boolean {
    return this.stop === this.#end
  }

  /** The elements inside the current one. */
  inside(): DerReader {
    return new DerReader(this.#bytes, this.start, this.stop)
  }

  /** The content of the current element; a view. */
  get content(): Buffer {
    return this.#bytes.subarray(this.start, this.stop)
  }

  /** The current element with its tag and length; a view. */
  get whole(): Buffer {
    return this.#bytes.subarray(this.head, this.stop)
  }
}
