// SPDX-License-Identifier: Apache-2.0
// Reads the line before a chunk, byte by byte, wherever packets cut it. SPEC RFC9112 §7.1: hexadecimal digits, perhaps an
// extension, which is skipped, CR LF and nothing else: a bare LF, white space or a sign has made others smuggle.
import { HTTP1_LIMITS } from './limits.ts'
import { CR, endOfFieldValue, HTAB, hexDigit, LF, SP } from './syntax.ts'

/** More digits could not be counted exactly. */
const MAX_DIGITS = 13
const SEMICOLON = 0x3b

/** `open`: more is to come. `done`: `size` is known. Else what is wrong. */
export type ChunkLineState = 'open' | 'done' | 'digits' | 'size' | 'extension' | 'line'

export class ChunkLine {
  size = 0
  #digits = 0
  #bytes = 0
  #isInExtension = false
  #isAfterCr = false

  /** For the next chunk. */
  reset(): void {
    this.size = 0
    this.#digits = 0
    this.#bytes = 0
    this.#isInExtension = false
    this.#isAfterCr = false
  }

  push(byte: number): ChunkLineState {
    if (++this.#bytes > HTTP1_LIMITS.chunkLine.value) return 'line'
    if (this.#isAfterCr) return byte === LF ? 'done' : 'line'
    if (byte === CR) {
      if (this.#digits === 0) return 'digits'
      this.#isAfterCr = true
      return 'open'
    }
    if (this.#isInExtension) return isExtensionByte(byte) ? 'open' : 'extension'
    const digit = hexDigit(byte)
    if (digit >= 0) {
      if (++this.#digits > MAX_DIGITS) return 'size'
      this.size = this.size * 16 + digit
      return 'open'
    }
    if (byte !== SEMICOLON || this.#digits === 0) return 'digits'
    this.#isInExtension = true
    return 'open'
  }
}

function isExtensionByte(byte: number): boolean {
  return byte === HTAB || byte === SP || endOfFieldValue(String.fromCharCode(byte), 0) === 1
}
