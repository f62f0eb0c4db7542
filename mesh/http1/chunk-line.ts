// SPDX-License-Identifier: Apache-2.0
// Reads the line before a chunk, byte by byte, wherever packets cut it. SPEC RFC9112 §7.1: hexadecimal digits, perhaps an
// extension of tokens, which is skipped, CR LF and nothing else: a bare LF, white space or a sign has made others smuggle.

import { CR, hexDigit, isTokenByte, LF } from '../http/syntax.ts'
import { HTTP1_LIMITS } from './limits.ts'

/** More digits could not be counted exactly. */
const MAX_DIGITS = 13
const SEMICOLON = 0x3b
const EQUALS = 0x3d

/** `open`: more is to come. `done`: `size` is known. Else what is wrong. */
export type ChunkLineState = 'open' | 'done' | 'digits' | 'size' | 'extension' | 'line'

export class ChunkLine {
  size = 0
  #digits = 0
  #bytes = 0
  /** Of the extension: none yet, a name, a value. */
  #part: 'none' | 'name' | 'value' = 'none'
  /** The name or the value has begun. */
  #hasToken = false
  #isAfterCr = false

  /** For the next chunk. */
  reset(): void {
    this.size = 0
    this.#digits = 0
    this.#bytes = 0
    this.#part = 'none'
    this.#hasToken = false
    this.#isAfterCr = false
  }

  push(byte: number): ChunkLineState {
    if (++this.#bytes > HTTP1_LIMITS.chunkLine.value) return 'line'
    if (this.#isAfterCr) return byte === LF ? 'done' : 'line'
    if (byte === CR) {
      if (this.#digits === 0) return 'digits'
      if (this.#part !== 'none' && !this.#hasToken) return 'extension'
      this.#isAfterCr = true
      return 'open'
    }
    if (this.#part !== 'none') return this.#pushExtension(byte)
    const digit = hexDigit(byte)
    if (digit >= 0) {
      if (++this.#digits > MAX_DIGITS) return 'size'
      this.size = this.size * 16 + digit
      return 'open'
    }
    if (byte !== SEMICOLON || this.#digits === 0) return 'digits'
    this.#part = 'name'
    return 'open'
  }

  /** SPEC RFC9112 §7.1.1, without white space and quoted values, which readers end at different places. */
  #pushExtension(byte: number): ChunkLineState {
    if (isTokenByte(byte)) {
      this.#hasToken = true
      return 'open'
    }
    if (!this.#hasToken) return 'extension'
    this.#hasToken = false
    if (byte === SEMICOLON) this.#part = 'name'
    else if (byte === EQUALS && this.#part === 'name') this.#part = 'value'
    else return 'extension'
    return 'open'
  }
}
