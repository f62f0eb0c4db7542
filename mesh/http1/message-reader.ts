// SPDX-License-Identifier: Apache-2.0
// Cuts a stream of bytes into messages of HTTP/1.1: heads, bodies, trailers. It knows lengths, not meanings: who hears a head
// says how long its body is. Hostile input: one pass, bounded memory, nothing throws; after a fault nothing is read.
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { HeaderList } from '../http/header-list.ts'
import { CR, isTokenByte, LF } from '../http/syntax.ts'
import type { Block } from '../reactor/byte-stream.ts'
import { ChunkLine } from './chunk-line.ts'
import { malformed, parseTrailers } from './head.ts'
import { HTTP1_LIMITS } from './limits.ts'
import type { BodyLength } from './request-head.ts'

const NOTHING = Buffer.alloc(0)

/** Hears what a reader cuts, within its call of read() or end(). */
export interface MessageHandler {
  /** From the first line to the empty one. How long the body is; `interim`: another head follows; null: nothing more is read. */
  onHead(text: string): BodyLength | 'interim' | null
  /** Bytes `[start, end)` of the body, valid during the call. */
  onBody(block: Block, start: number, end: number): void
  onTrailers(headers: HeaderList): void
  /** The message is complete; nothing of the next one is read before next(). */
  onMessageEnd(): void
  /** Once; nothing follows. */
  onFault(refusal: Refusal): void
}

/**
 *   head ─► bytes ──────────────────────────────► done ─► head (next)
 *     │ ├─► until-close ─────────────(end)──────────▲
 *     │ └─► chunk-line ─► chunk ─► chunk-end ─┐     │
 *     │          ▲  └─► trailers ─────────────│─────┤
 *     │          └────────────────────────────┘     │
 *     └──────────────(no body)──────────────────────┘      any ─► failed
 */
type ReaderState =
  | 'head'
  | 'bytes'
  | 'until-close'
  | 'chunk-line'
  | 'chunk'
  | 'chunk-end'
  | 'trailers'
  | 'done'
  | 'failed'

export class MessageReader {
  readonly #handler: MessageHandler
  readonly #line = new ChunkLine()
  #state: ReaderState = 'head'
  /** Of a head or trailers that packets cut: what has come so far. */
  #held: Buffer = NOTHING
  #heldBytes = 0
  /** Nothing has come of the line that is being collected. */
  #isLineEmpty = false
  /** Of the body or the chunk: what is still to come. */
  #leftBytes = 0
  /** The byte before this one was the CR of a line's end. */
  #hasCr = false
  #isPaused = false
  /** Granted from within onHead. */
  #isRawNext = false
  /** Of an empty line before the head: may come, has begun, came or will not. */
  #leading: 'any' | 'cr' | 'none' = 'any'

  constructor(handler: MessageHandler) {
    this.#handler = handler
  }

  /** True between two messages, with no byte of the next one. */
  get isIdle(): boolean {
    return this.#state === 'done' || (this.#state === 'head' && !this.isInHead)
  }

  /** A message is complete, and the next one was not asked for. */
  get isDone(): boolean {
    return this.#state === 'done'
  }

  /** A head has begun and is not complete. */
  get isInHead(): boolean {
    return this.#state === 'head' && (this.#heldBytes > 0 || this.#leading === 'cr')
  }

  /** After a head without a body (101, CONNECT): all that follows are bytes of no message, until the peer ends. */
  beginRaw(): void {
    if (this.#state === 'done') this.#state = 'until-close'
    else this.#isRawNext = true
  }

  /** After onMessageEnd: the next message may be read. */
  next(): void {
    if (this.#state !== 'done') return
    this.#state = 'head'
    this.#leading = 'any'
  }

  /** From within a callback: read() returns with what it has not read. resume() and read() go on. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
  }

  /** Reads `[start, end)`; where it stopped: less than `end` after a message, when paused, or failed. */
  read(block: Block, start: number, end: number): number {
    let at = start
    while (at < end && !this.#isPaused) {
      switch (this.#state) {
        case 'head':
          at = this.#readHead(block.bytes, at, end)
          break
        case 'bytes':
        case 'chunk':
          at = this.#readBytes(block, at, end)
          break
        case 'until-close':
          this.#handler.onBody(block, at, end)
          return end
        case 'chunk-line':
          at = this.#readChunkLine(block.bytes, at, end)
          break
        case 'chunk-end':
          at = this.#readChunkEnd(block.bytes[at] ?? 0, at)
          break
        case 'trailers':
          at = this.#collect(block.bytes, at, end, HTTP1_LIMITS.trailers.value)
          break
        default:
          return at
      }
    }
    return at
  }

  /** The peer has ended its half. True: in order. */
  end(): boolean {
    if (this.#state === 'until-close') {
      this.#finish()
      return true
    }
    return this.isIdle || this.#state === 'failed'
  }

  #readHead(bytes: Buffer, start: number, end: number): number {
    // SPEC RFC9112 §2.2: an empty line before a head is left over from a body that was one line too long.
    if (this.#leading === 'any' && bytes[start] === CR) {
      this.#leading = 'cr'
      return start + 1
    }
    if (this.#leading === 'cr') {
      if (bytes[start] !== LF) this.#fail(malformed('this is not HTTP'))
      this.#leading = 'none'
      return start + 1
    }
    this.#leading = 'none'
    if (this.#heldBytes === 0) {
      if (!isTokenByte(bytes[start] ?? 0)) {
        this.#fail(malformed('this is not HTTP'))
        return end
      }
      const headEnd = findHeadEnd(bytes, start, end)
      if (headEnd > 0 && headEnd - start <= HTTP1_LIMITS.head.value) {
        this.#onHead(bytes.toString('latin1', start, headEnd))
        return headEnd
      }
      this.#isLineEmpty = false
    }
    return this.#collect(bytes, start, end, HTTP1_LIMITS.head.value)
  }

  /** Keeps what comes until an empty line ends it, each byte looked at once. Where reading goes on. */
  #collect(bytes: Buffer, start: number, end: number, mostBytes: number): number {
    const to = Math.min(end, start + mostBytes - this.#heldBytes)
    for (let at = start; at < to; at++) {
      const byte = bytes[at]
      if (this.#hasCr ? byte !== LF : byte === LF) {
        this.#fail(malformed('a line does not end in CR LF'))
        return end
      }
      if (this.#hasCr) {
        this.#hasCr = false
        if (this.#isLineEmpty) {
          this.#onCollected(bytes, start, at + 1)
          return at + 1
        }
        this.#isLineEmpty = true
      } else if (byte === CR) this.#hasCr = true
      else this.#isLineEmpty = false
    }
    this.#hold(bytes, start, to)
    if (this.#heldBytes >= mostBytes)
      this.#fail(refuse('HTTP_HEADERS_TOO_LARGE', `more than ${mostBytes} bytes`))
    return end
  }

  #onCollected(bytes: Buffer, start: number, end: number): void {
    const text = this.#held.toString('latin1', 0, this.#heldBytes) + bytes.toString('latin1', start, end)
    this.#dropHeld()
    if (this.#state === 'head') this.#onHead(text)
    else if (text.length === 2) this.#finish()
    else this.#onTrailers(text)
  }

  #hold(bytes: Buffer, start: number, end: number): void {
    const needed = this.#heldBytes + end - start
    if (needed > this.#held.length) {
      const larger = Buffer.allocUnsafe(Math.max(1_024, needed, this.#held.length * 2))
      this.#held.copy(larger, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    bytes.copy(this.#held, this.#heldBytes, start, end)
    this.#heldBytes = needed
  }

  #dropHeld(): void {
    this.#held = NOTHING
    this.#heldBytes = 0
  }

  #onHead(text: string): void {
    const body = this.#handler.onHead(text)
    if (this.#state === 'failed') return
    if (body === null) this.#state = 'failed'
    else if (body !== 'interim') this.#begin(body)
  }

  #begin(body: BodyLength): void {
    switch (body.kind) {
      case 'none':
        this.#finish()
        break
      case 'bytes':
        this.#leftBytes = body.bytes
        this.#state = 'bytes'
        break
      case 'chunked':
        this.#line.reset()
        this.#state = 'chunk-line'
        break
      case 'until-close':
        this.#state = 'until-close'
    }
  }

  #readBytes(block: Block, at: number, end: number): number {
    const to = Math.min(end, at + this.#leftBytes)
    const isChunk = this.#state === 'chunk'
    this.#leftBytes -= to - at
    if (this.#leftBytes === 0 && isChunk) this.#state = 'chunk-end'
    this.#handler.onBody(block, at, to)
    if (this.#leftBytes === 0 && !isChunk && this.#state === 'bytes') this.#finish()
    return to
  }

  #readChunkLine(bytes: Buffer, start: number, end: number): number {
    for (let at = start; at < end; at++) {
      const state = this.#line.push(bytes[at] ?? 0)
      if (state === 'open') continue
      if (state !== 'done') {
        this.#fail(malformed(`before a chunk: its ${state}`))
        return end
      }
      this.#leftBytes = this.#line.size
      this.#state = this.#leftBytes > 0 ? 'chunk' : 'trailers'
      this.#isLineEmpty = true
      return at + 1
    }
    return end
  }

  #readChunkEnd(byte: number, at: number): number {
    if (byte !== (this.#hasCr ? LF : CR)) {
      this.#fail(malformed('a chunk is longer than it says'))
      return at
    }
    if (this.#hasCr) {
      this.#line.reset()
      this.#state = 'chunk-line'
    }
    this.#hasCr = !this.#hasCr
    return at + 1
  }

  #onTrailers(text: string): void {
    const trailers = parseTrailers(text)
    if (trailers.kind === 'refusal') {
      this.#fail(trailers)
      return
    }
    this.#handler.onTrailers(trailers.headers)
    if (this.#state === 'trailers') this.#finish()
  }

  #finish(): void {
    if (this.#isRawNext) {
      this.#isRawNext = false
      this.#state = 'until-close'
      return
    }
    this.#state = 'done'
    this.#handler.onMessageEnd()
  }

  #fail(refusal: Refusal): void {
    this.#state = 'failed'
    this.#dropHeld()
    this.#handler.onFault(refusal)
  }
}

/** Index after CR LF CR LF in `[start, end)`, or -1: four bytes at a time, as none of them can be skipped alone. */
function findHeadEnd(bytes: Buffer, start: number, end: number): number {
  for (let at = start + 3; at < end; ) {
    const byte = bytes[at]
    if (byte === LF) {
      const isAfterCr = bytes[at - 1] === CR
      if (isAfterCr && bytes[at - 2] === LF && bytes[at - 3] === CR) return at + 1
      at += isAfterCr ? 2 : 4
    } else at += byte === CR ? 1 : 4
  }
  return -1
}
