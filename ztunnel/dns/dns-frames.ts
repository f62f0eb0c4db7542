// SPDX-License-Identifier: Apache-2.0
// Messages on a TCP connection, each behind two bytes of length (SPEC RFC1035 §4.2.2). A message that arrived in one piece
// is handed on where it lies; one in several pieces is put together first.

/** Of the length in front of a message. */
export const LENGTH_BYTES = 2

/** Hears of whole messages: `bytes[start, end)`, length included, valid during the call only. */
export type FrameHandler = (bytes: Buffer, start: number, end: number) => void

/** One direction of one connection. */
export class FrameReader {
  readonly #onFrame: FrameHandler
  /** What has come of a message that is not whole yet; at most 64 KiB. */
  #partial = Buffer.alloc(0)
  #filled = 0

  constructor(onFrame: FrameHandler) {
    this.#onFrame = onFrame
  }

  /** True in the middle of a message. */
  get hasPartial(): boolean {
    return this.#filled > 0
  }

  /** Takes what arrived. */
  read(bytes: Buffer, start: number, end: number): void {
    let at = start
    while (at < end) {
      if (this.#filled > 0) at = this.#complete(bytes, at, end)
      else {
        const whole = end - at < LENGTH_BYTES ? -1 : at + LENGTH_BYTES + bytes.readUInt16BE(at)
        if (whole < 0 || whole > end) {
          this.#keep(bytes, at, end)
          return
        }
        this.#onFrame(bytes, at, whole)
        at = whole
      }
    }
  }

  /** Adds to the partial message; returns where the next one begins. */
  #complete(bytes: Buffer, start: number, end: number): number {
    let at = start
    if (this.#filled < LENGTH_BYTES) {
      this.#partial[this.#filled++] = bytes[at++] ?? 0
      if (this.#filled < LENGTH_BYTES) return at
    }
    const size = LENGTH_BYTES + this.#partial.readUInt16BE(0)
    const taken = Math.min(end - at, size - this.#filled)
    this.#grow(this.#filled + taken, size)
    bytes.copy(this.#partial, this.#filled, at, at + taken)
    this.#filled += taken
    if (this.#filled < size) return at + taken
    const frame = this.#partial
    this.#partial = Buffer.alloc(0)
    this.#filled = 0
    this.#onFrame(frame, 0, size)
    return at + taken
  }

  #keep(bytes: Buffer, start: number, end: number): void {
    this.#grow(end - start, end - start)
    this.#filled = bytes.copy(this.#partial, 0, start, end)
  }

  /** Room for `needed` bytes: memory follows what has arrived, not what was announced. */
  #grow(needed: number, most: number): void {
    if (this.#partial.length >= needed && this.#partial.length >= LENGTH_BYTES) return
    const larger = Buffer.alloc(Math.max(LENGTH_BYTES, Math.min(most, needed * 2)))
    this.#partial.copy(larger, 0, 0, this.#filled)
    this.#partial = larger
  }
}
