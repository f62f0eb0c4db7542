// SPDX-License-Identifier: Apache-2.0
// Sends messages on one connection. What is small gathers in the worker's staging block and leaves as one write per turn; large
// parts of a body leave where they lie, the line of their chunk in front of them and the end of it behind.

import type { SessionResources, StagingHolder } from '../h2/session-resources.ts'
import { CR, LF } from '../http/syntax.ts'
import { type Block, type ByteStream, HEADROOM_BYTES } from '../reactor/byte-stream.ts'
import type { Framing } from './head-text.ts'
import { HTTP1_LIMITS } from './limits.ts'

const IN_PLACE_BYTES = HTTP1_LIMITS.inPlaceChunk.value
/** Eight digits, CR, LF; and CR, LF behind. */
const MAX_LINE_BYTES = 10
const CRLF_BYTES = 2
/** Texts are staged in such pieces. */
const PIECE_BYTES = 16_384
// What lies around a chunk in the caller's block while it is framed there; restored after the write.
const saved = Buffer.allocUnsafeSlow(MAX_LINE_BYTES + HEADROOM_BYTES + CRLF_BYTES)

export class MessageWriter implements StagingHolder {
  /** The transport said stop; its onDrain clears it. */
  isCongested = false
  /** Bytes were handed to the transport since the owner last set this to false. */
  hasSent = false
  readonly #transport: ByteStream
  readonly #resources: SessionResources
  #framing: Framing = 'none'
  #leftBytes = 0
  #isClosed = false

  constructor(transport: ByteStream, resources: SessionResources) {
    this.#transport = transport
    this.#resources = resources
  }

  /** How the body that is being sent ends. */
  get framing(): Framing {
    return this.#framing
  }
  /** Bytes that a body of a known length still needs. */
  get leftBytes(): number {
    return this.#leftBytes
  }

  /** A head and how what follows it ends. */
  writeHead(text: string, framing: Framing, contentLength: number): void {
    this.#writeText(text)
    this.#framing = framing
    this.#leftBytes = framing === 'length' ? contentLength : 0
  }

  /** Part of the body. False: it is more than the length that was announced; nothing of it is sent. */
  write(block: Block, start: number, end: number): boolean {
    switch (this.#framing) {
      case 'none':
        return true // an answer to HEAD: its body is nobody's
      case 'chunked':
        this.#writeChunk(block, start, end)
        return true
      case 'length':
        if (end - start > this.#leftBytes) return false
        this.#leftBytes -= end - start
    }
    if (end - start < IN_PLACE_BYTES) this.#stage(block.bytes, start, end)
    else {
      this.flushStaging()
      this.#send(block, start, end)
    }
    return true
  }

  /** The end of the body; `trailers` with their empty line, or ''. False: bytes of it are missing. */
  end(trailers: string): boolean {
    const isWhole = this.#leftBytes === 0
    if (this.#framing === 'chunked') this.#writeText(trailers === '' ? '0\r\n\r\n' : `0\r\n${trailers}`)
    this.#framing = 'none'
    return isWhole
  }

  flushStaging(): void {
    const bytes = this.#resources.takeStaged(this)
    if (bytes > 0 && !this.#isClosed) this.#send(this.#resources.staging, 0, bytes)
  }

  /** Sends what is staged and takes nothing more. */
  close(): void {
    this.flushStaging()
    this.#isClosed = true
    this.#framing = 'none'
  }

  /** Takes nothing more; what is staged is lost. */
  drop(): void {
    this.#resources.takeStaged(this)
    this.#isClosed = true
    this.#framing = 'none'
  }

  #writeText(text: string): void {
    if (this.#isClosed) return
    for (let at = 0; at < text.length; at += PIECE_BYTES) {
      const piece = text.length <= PIECE_BYTES ? text : text.substring(at, at + PIECE_BYTES)
      const to = this.#resources.reserve(this, piece.length)
      this.#resources.commit(to + this.#resources.staging.bytes.write(piece, to, 'latin1'))
    }
  }

  #stage(bytes: Buffer, start: number, end: number): void {
    const to = this.#resources.reserve(this, end - start)
    bytes.copy(this.#resources.staging.bytes, to, start, end)
    this.#resources.commit(to + end - start)
  }

  #writeChunk(block: Block, start: number, end: number): void {
    const size = end - start
    const lineBytes = hexDigits(size) + CRLF_BYTES
    const { bytes } = block
    if (size < IN_PLACE_BYTES) {
      const staging = this.#resources.staging.bytes
      const to = this.#resources.reserve(this, lineBytes + size + CRLF_BYTES)
      writeLine(staging, to, size, lineBytes)
      bytes.copy(staging, to + lineBytes, start, end)
      staging[to + lineBytes + size] = CR
      staging[to + lineBytes + size + 1] = LF
      this.#resources.commit(to + lineBytes + size + CRLF_BYTES)
      return
    }
    if (start < HEADROOM_BYTES || end + CRLF_BYTES > bytes.length) {
      this.#writeText(`${size.toString(16)}\r\n`)
      this.flushStaging()
      this.#send(block, start, end)
      this.#writeText('\r\n')
      return
    }
    this.flushStaging()
    const from = start - lineBytes
    // Deep in the block the transport may use the bytes in front of ours, which the caller did not give away.
    const savedFrom = Math.max(start - MAX_LINE_BYTES - HEADROOM_BYTES, 0)
    const behind = bytes.copy(saved, 0, savedFrom, start)
    bytes.copy(saved, behind, end, end + CRLF_BYTES)
    writeLine(bytes, from, size, lineBytes)
    bytes[end] = CR
    bytes[end + 1] = LF
    this.#send(block, from, end + CRLF_BYTES)
    saved.copy(bytes, savedFrom, 0, behind)
    saved.copy(bytes, end, behind, behind + CRLF_BYTES)
  }

  #send(block: Block, start: number, end: number): void {
    this.hasSent = true
    if (!this.#transport.write(block, start, end)) this.isCongested = true
  }
}

function hexDigits(size: number): number {
  let digits = 1
  for (let left = size >>> 4; left > 0; left >>>= 4) digits++
  return digits
}

const HEX = Buffer.from('0123456789abcdef')

function writeLine(bytes: Buffer, at: number, size: number, lineBytes: number): void {
  let left = size
  for (let to = at + lineBytes - CRLF_BYTES - 1; to >= at; to--) {
    bytes[to] = HEX[left & 15] ?? 0
    left >>>= 4
  }
  bytes[at + lineBytes - 2] = CR
  bytes[at + lineBytes - 1] = LF
}
