// SPDX-License-Identifier: Apache-2.0
// Cuts a byte stream into HTTP/2 frames. DATA payload is handed on as it arrives, where it lies; all other frames are
// handed on complete, from the chunk when they fit in it, else from a bounded copy. Checks sizes that depend on the
// type alone; meaning is the sink's business. Spec: RFC 9113 §3.4, §4, §6.
import type { ReasonCode } from '../errors/reasons.ts'
import type { Block } from '../reactor/byte-stream.ts'
import { CLIENT_PREFACE, FLAG, FRAME, FRAME_HEADER_BYTES, readUint24, readUint31 } from './frames.ts'
import { H2_LIMITS } from './limits.ts'

/** What the reader tells. After any call the sink may have called `stop`: nothing follows then. */
export interface FrameSink {
  /** A frame header of any type. */
  onFrameStart(type: number, flags: number, streamId: number, length: number): void
  /** Payload of the DATA frame announced last, in pieces, padding removed. */
  onDataPiece(block: Block, start: number, end: number): void
  /** Padding bytes, which count for flow control. */
  onDataPadding(bytes: number): void
  /** The DATA frame announced last is complete. */
  onDataEnd(flags: number): void
  /** Any other frame of RFC 9113, complete. The bytes are valid during the call. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void
  /** The peer broke the framing: the connection is lost. */
  onFramingError(code: ReasonCode, detail: string): void
}

/** preface → header ⇄ payload states; `stopped` is final. */
type ReaderState = 'preface' | 'header' | 'pad-length' | 'data' | 'padding' | 'skip' | 'collect' | 'stopped'

/** One per session. */
export class FrameReader {
  readonly #sink: FrameSink
  readonly #maxFrameBytes: number
  readonly #maxHeaderBlockBytes: number
  #state: ReaderState
  #type = 0
  #flags = 0
  #streamId = 0
  /** Bytes of the running state's part that are still to come. */
  #remaining = 0
  #paddingBytes = 0
  /** Collects what arrived in pieces: a header, a preface, a control frame. */
  #partial: Buffer | null = null
  #partialBytes = 0

  constructor(sink: FrameSink, hasPreface: boolean, maxFrameBytes: number, maxHeaderBlockBytes: number) {
    this.#sink = sink
    this.#maxFrameBytes = maxFrameBytes
    this.#maxHeaderBlockBytes = maxHeaderBlockBytes
    this.#state = hasPreface ? 'preface' : 'header'
    this.#remaining = hasPreface ? CLIENT_PREFACE.length : 0
  }

  /** Ends reading for good. */
  stop(): void {
    this.#state = 'stopped'
    this.#partial = null
  }

  /** Consumes all of `[start, end)`. */
  read(block: Block, start: number, end: number): void {
    const bytes = block.bytes
    let at = start
    while (at < end) {
      switch (this.#state) {
        case 'header':
          at = this.#readHeader(bytes, at, end)
          break
        case 'data': {
          const stop = Math.min(end, at + this.#remaining)
          this.#remaining -= stop - at
          const from = at
          at = stop
          this.#sink.onDataPiece(block, from, stop)
          if (this.#remaining === 0) this.#afterData()
          break
        }
        case 'pad-length':
          at = this.#readPadLength(bytes, at)
          break
        case 'padding':
        case 'skip':
          at = this.#skip(at, end)
          break
        case 'collect':
          at = this.#collect(bytes, at, end)
          break
        case 'preface':
          at = this.#readPreface(bytes, at, end)
          break
        default:
          return
      }
    }
  }

  #readPreface(bytes: Buffer, start: number, end: number): number {
    let at = start
    for (; at < end && this.#remaining > 0; at++, this.#remaining--) {
      if (bytes[at] !== CLIENT_PREFACE[CLIENT_PREFACE.length - this.#remaining]) {
        this.#fail('H2_PREFACE', 'the connection does not begin with the HTTP/2 preface')
        return end
      }
    }
    if (this.#remaining === 0) this.#state = 'header'
    return at
  }

  #readHeader(bytes: Buffer, at: number, end: number): number {
    if (this.#partialBytes === 0 && end - at >= FRAME_HEADER_BYTES) {
      return this.#startFrame(bytes, at, at + FRAME_HEADER_BYTES, end)
    }
    if (this.#partial === null) this.#partial = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
    const taken = Math.min(FRAME_HEADER_BYTES - this.#partialBytes, end - at)
    bytes.copy(this.#partial, this.#partialBytes, at, at + taken)
    this.#partialBytes += taken
    if (this.#partialBytes < FRAME_HEADER_BYTES) return end
    const header = this.#partial
    this.#partial = null
    this.#partialBytes = 0
    return this.#startFrame(header, 0, at + taken, end, bytes)
  }

  /** Reads the header at `header[from…]`; the payload begins at `payload` of `bytes`. Returns where to go on. */
  #startFrame(header: Buffer, from: number, payload: number, end: number, bytes: Buffer = header): number {
    const length = readUint24(header, from)
    const type = header[from + 3] ?? 0
    const flags = header[from + 4] ?? 0
    const streamId = readUint31(header, from + 5)
    this.#type = type
    this.#flags = flags
    this.#streamId = streamId
    // SPEC RFC9113 §4.2: a frame larger than we announced is a FRAME_SIZE_ERROR.
    if (length > this.#maxFrameBytes || !this.#hasFittingLength(type, flags, length)) {
      const isHeaders = type === FRAME.HEADERS || type === FRAME.CONTINUATION
      const isBlock = isHeaders && length <= this.#maxFrameBytes
      this.#fail(isBlock ? 'H2_HEADERS_TOO_LARGE' : 'H2_FRAME_SIZE', `frame of type ${type}, ${length} bytes`)
      return end
    }
    this.#sink.onFrameStart(type, flags, streamId, length)
    if (this.#state === 'stopped') return end
    this.#remaining = length
    if (type === FRAME.DATA) {
      this.#paddingBytes = 0
      if (flags & FLAG.PADDED) this.#state = 'pad-length'
      else if (length > 0) this.#state = 'data'
      else this.#sink.onDataEnd(flags)
      return payload
    }
    if (type > FRAME.CONTINUATION) {
      this.#state = length > 0 ? 'skip' : 'header'
      return payload
    }
    const stop = payload + length
    if (stop <= end) {
      this.#sink.onFrame(type, flags, streamId, bytes, payload, stop)
      return stop
    }
    this.#partial = Buffer.allocUnsafe(length)
    this.#partialBytes = 0
    this.#state = 'collect'
    return payload
  }

  /** Lengths RFC 9113 §6 fixes, and bounds for frames that are collected in memory. */
  #hasFittingLength(type: number, flags: number, length: number): boolean {
    switch (type) {
      case FRAME.DATA:
        return length > 0 || (flags & FLAG.PADDED) === 0
      case FRAME.HEADERS:
        // Padding and priority come on top of the block.
        return length <= this.#maxHeaderBlockBytes + 262
      case FRAME.CONTINUATION:
        return length <= this.#maxHeaderBlockBytes
      case FRAME.PRIORITY:
        return length === 5
      case FRAME.RST_STREAM:
      case FRAME.WINDOW_UPDATE:
        return length === 4
      case FRAME.PING:
        return length === 8
      case FRAME.SETTINGS:
        if (flags & FLAG.ACK) return length === 0
        return length % 6 === 0 && length <= H2_LIMITS.settingsEntries.value * 6
      case FRAME.GOAWAY:
        return length >= 8 && length <= H2_LIMITS.goawayDebug.value
      default:
        return type !== FRAME.PUSH_PROMISE || length <= this.#maxHeaderBlockBytes
    }
  }

  #readPadLength(bytes: Buffer, at: number): number {
    const padding = bytes[at] ?? 0
    // SPEC RFC9113 §6.1: padding as long as the payload or longer is a PROTOCOL_ERROR.
    if (padding >= this.#remaining) {
      this.#fail('H2_PROTOCOL', 'padding exceeds the frame')
      return at + 1
    }
    this.#paddingBytes = padding
    this.#remaining -= 1 + padding
    this.#state = 'data'
    this.#sink.onDataPadding(1 + padding)
    if (this.#remaining === 0) this.#afterData()
    return at + 1
  }

  #afterData(): void {
    if (this.#state === 'stopped') return
    if (this.#paddingBytes > 0) {
      this.#state = 'padding'
      this.#remaining = this.#paddingBytes
      return
    }
    this.#state = 'header'
    this.#sink.onDataEnd(this.#flags)
  }

  #skip(at: number, end: number): number {
    const stop = Math.min(end, at + this.#remaining)
    this.#remaining -= stop - at
    if (this.#remaining > 0) return stop
    const isData = this.#state === 'padding'
    this.#state = 'header'
    if (isData) this.#sink.onDataEnd(this.#flags)
    return stop
  }

  #collect(bytes: Buffer, at: number, end: number): number {
    const partial = this.#partial
    if (partial === null) return end
    const taken = Math.min(partial.length - this.#partialBytes, end - at)
    bytes.copy(partial, this.#partialBytes, at, at + taken)
    this.#partialBytes += taken
    if (this.#partialBytes === partial.length) {
      this.#partial = null
      this.#partialBytes = 0
      this.#state = 'header'
      this.#sink.onFrame(this.#type, this.#flags, this.#streamId, partial, 0, partial.length)
    }
    return at + taken
  }

  #fail(code: ReasonCode, detail: string): void {
    this.stop()
    this.#sink.onFramingError(code, detail)
  }
}
