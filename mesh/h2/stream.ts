// SPDX-License-Identifier: Apache-2.0
// One HTTP/2 stream as the HttpStream that HTTP/1.1 gives too. Small on purpose: an idle tunnel stream is a few numbers and two references; queues
// exist only while bytes wait. The session keeps its books in the public fields; owners use the methods.
import { MeshError } from '../errors/mesh-error.ts'
import type { HeaderList } from '../http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../http/http-stream.ts'
import type { Block, ByteStreamHandler, CloseReason } from '../reactor/byte-stream.ts'
import { type ByteQueue, textBytes } from './byte-queue.ts'

/** Facts about a stream, one bit each. */
export const STREAM = {
  /** Our side was asked to end; bytes may still wait. */
  LOCAL_END_ASKED: 1,
  LOCAL_END_SENT: 2,
  /** The peer's END_STREAM arrived; bytes may still wait. */
  REMOTE_END: 4,
  REMOTE_END_TOLD: 8,
  PAUSED: 16,
  /** write returned false: the owner waits for onDrain. */
  WANTS_DRAIN: 32,
  /** No frame of this stream is sent or expected any more. */
  CLOSED: 64,
  CLOSE_TOLD: 128,
  /** The session calls runDeferred at the end of the turn. */
  DEFERRED: 256,
  /** In the writer's list of streams that wait for the transport or the connection window. */
  PENDING: 512,
  HEADERS_SENT: 1_024,
  HEADERS_RECEIVED: 2_048,
  /** Ended by force: bytes and END_STREAM that wait are not delivered. */
  ABORTED: 4_096,
  /** CONNECT: bytes of no message, each half of which ends alone. */
  TUNNEL: 8_192,
  /** The request is HEAD: its answer has no body. */
  HEAD: 16_384,
  /** Our answer has no body: bytes written are nobody's. */
  BODILESS: 32_768,
} as const

/** What a stream asks of its session. */
export interface StreamOwner {
  writeData(stream: H2Stream, block: Block, start: number, end: number): boolean
  endStream(stream: H2Stream): void
  /** Sends RST_STREAM with the reason's code and closes. */
  resetStream(stream: H2Stream, reason: CloseReason): void
  /** See HttpStream. */
  sendHeaders(stream: H2Stream, headers: HeaderList, isEnd: boolean): void
  /** Calls stream.runDeferred at the end of the turn. */
  defer(stream: H2Stream): void
  /** False when the worker's budget for waiting bytes is spent. */
  hasInboundRoom(bytes: number): boolean
  createInboundQueue(): ByteQueue
  noteInbound(bytes: number): void
  /** Delivered bytes may be credited to the peer. */
  credit(stream: H2Stream): void
  readonly isCongested: boolean
  /** Puts the stream in line for the transport. */
  awaitTransport(stream: H2Stream): void
  readonly lowWaterBytes: number
}

/** Made by H2Session only. */
export class H2Stream implements HttpStream {
  readonly id: number
  readonly #owner: StreamOwner
  #handler: ByteStreamHandler | null = null
  headersHandler: HttpHeadersHandler | null = null

  // The session's books.
  /** STREAM bits. */
  bits = 0
  /** Bytes the peer lets us send; may be negative after a SETTINGS change. */
  sendWindowBytes: number
  /** Bytes the peer may still send. */
  receiveWindowBytes: number
  /** Bytes delivered and not yet given back to the peer. */
  uncreditedBytes = 0
  /** Of a body whose length was announced: bytes still to come; -1: nobody said. */
  expectedBytes = -1
  /** Client: answers of 1xx so far. */
  interimCount = 0
  inbound: ByteQueue | null = null
  outbound: ByteQueue | null = null
  /** Null until the stream is closed. */
  closeReason: CloseReason | null = null
  nextPending: H2Stream | null = null

  constructor(owner: StreamOwner, id: number, sendWindowBytes: number, receiveWindowBytes: number) {
    this.#owner = owner
    this.id = id
    this.sendWindowBytes = sendWindowBytes
    this.receiveWindowBytes = receiveWindowBytes
  }

  get bufferedBytes(): number {
    return this.outbound === null ? 0 : this.outbound.bytes
  }

  /** True when the stream is over on the wire; callbacks may still be owed. */
  get isAnsweredByCodec(): boolean {
    return false // what is wrong with a stream resets it
  }
  get isClosed(): boolean {
    return (this.bits & STREAM.CLOSED) !== 0
  }

  get isPaused(): boolean {
    return (this.bits & STREAM.PAUSED) !== 0
  }

  /** True when the peer has ended its half. */
  get isRemoteEnded(): boolean {
    return (this.bits & STREAM.REMOTE_END) !== 0
  }

  setHandler(handler: ByteStreamHandler): void {
    const isFirst = this.#handler === null
    this.#handler = handler
    if (isFirst && (this.inbound !== null || this.bits & (STREAM.REMOTE_END | STREAM.CLOSED))) {
      this.#owner.defer(this)
    }
  }

  sendHeaders(headers: HeaderList, isEnd: boolean): void {
    if (this.bits & (STREAM.LOCAL_END_ASKED | STREAM.CLOSED)) return
    this.#owner.sendHeaders(this, headers, isEnd)
  }

  write(block: Block, start: number, end: number): boolean {
    const unwanted = STREAM.LOCAL_END_ASKED | STREAM.CLOSED | STREAM.BODILESS
    if (this.bits & unwanted || start >= end) return true
    this.#assertHeadersSent()
    return this.#owner.writeData(this, block, start, end)
  }

  end(): void {
    if (this.bits & (STREAM.LOCAL_END_ASKED | STREAM.CLOSED)) return
    this.#assertHeadersSent()
    this.bits |= STREAM.LOCAL_END_ASKED
    this.#owner.endStream(this)
  }

  pause(): void {
    this.bits |= STREAM.PAUSED
  }

  resume(): void {
    if ((this.bits & STREAM.PAUSED) === 0) return
    this.bits &= ~STREAM.PAUSED
    if (this.inbound !== null) this.#owner.defer(this)
    else if (this.uncreditedBytes > 0 && (this.bits & STREAM.CLOSED) === 0) this.#owner.credit(this)
  }

  destroy(reason: CloseReason): void {
    if (this.bits & STREAM.CLOSED) {
      // Already over on the wire, but the owner does not want the rest that waits.
      if (this.inbound !== null && (this.bits & STREAM.CLOSE_TOLD) === 0) {
        this.dropInbound()
        this.bits |= STREAM.ABORTED
        this.#owner.defer(this)
      }
      return
    }
    this.#owner.resetStream(this, reason)
  }

  /** Session: payload arrived. Returns false when no memory is left for a paused stream. */
  receive(block: Block, start: number, end: number): boolean {
    const handler = this.#handler
    if (handler === null || this.bits & STREAM.PAUSED || this.inbound !== null) {
      return this.#queue(block.bytes, start, end)
    }
    this.uncreditedBytes += end - start
    handler.onData(block, start, end)
    if ((this.bits & (STREAM.PAUSED | STREAM.CLOSED)) === 0) this.#owner.credit(this)
    return true
  }

  /** Session: trailers arrived, and the end with them. Returns false when no memory is left for those of a paused stream. */
  receiveTrailers(trailers: HeaderList): boolean {
    if (this.#handler !== null && this.inbound === null) {
      this.headersHandler?.onHeaders(this, trailers, true)
      return true
    }
    if (!this.#owner.hasInboundRoom(textBytes(trailers))) return false
    this.inbound ??= this.#owner.createInboundQueue()
    this.inbound.keepTrailers(trailers)
    return true
  }

  /** Session: the peer ended its half (its bit is set). */
  tellEnd(): void {
    if (this.bits & STREAM.REMOTE_END_TOLD) return
    if (this.#handler === null || this.inbound !== null) {
      this.#owner.defer(this)
      return
    }
    this.bits |= STREAM.REMOTE_END_TOLD
    this.#handler.onEnd()
  }

  /** Session, at the end of a turn: everything that may not happen inside a call of the owner's. */
  runDeferred(): void {
    this.bits &= ~STREAM.DEFERRED
    if (this.#handler === null || this.bits & STREAM.CLOSE_TOLD) return
    this.#deliverQueued()
    const isAborted = (this.bits & STREAM.ABORTED) !== 0
    if (this.bits & STREAM.REMOTE_END && this.inbound === null && !isAborted) this.tellEnd()
    if (this.bits & STREAM.WANTS_DRAIN && (this.bits & STREAM.CLOSED) === 0) this.#tellDrain()
    if (this.closeReason === null || this.inbound !== null) return
    this.bits |= STREAM.CLOSE_TOLD
    this.#handler.onClose(this.closeReason)
  }

  dropInbound(): void {
    if (this.inbound === null) return
    this.#owner.noteInbound(-this.inbound.bytes)
    this.inbound.clear()
    this.inbound = null
  }

  dropOutbound(): void {
    this.outbound?.clear()
    this.outbound = null
  }

  #deliverQueued(): void {
    while (this.inbound !== null && (this.bits & STREAM.PAUSED) === 0) {
      const queue = this.inbound
      const segment = queue.shift()
      // The last segment leaves the queue empty: drop it first, so that the owner sees a consistent stream.
      if (queue.bytes === 0) this.inbound = null
      if (segment !== null) {
        const bytes = segment.end - segment.start
        this.#owner.noteInbound(-bytes)
        this.uncreditedBytes += bytes
        this.#handler?.onData(segment.block, segment.start, segment.end)
        queue.release(segment)
      }
      const trailers = this.inbound === null ? queue.takeTrailers() : null
      if (trailers !== null && (this.bits & STREAM.ABORTED) === 0)
        this.headersHandler?.onHeaders(this, trailers, true)
    }
    if (this.uncreditedBytes > 0 && (this.bits & (STREAM.PAUSED | STREAM.CLOSED)) === 0)
      this.#owner.credit(this)
  }

  #tellDrain(): void {
    if (this.#owner.isCongested) {
      this.#owner.awaitTransport(this)
      return
    }
    if (this.bufferedBytes > this.#owner.lowWaterBytes) return
    this.bits &= ~STREAM.WANTS_DRAIN
    this.#handler?.onDrain()
  }

  #queue(bytes: Buffer, start: number, end: number): boolean {
    if (!this.#owner.hasInboundRoom(end - start)) return false
    if (this.inbound === null) this.inbound = this.#owner.createInboundQueue()
    this.inbound.push(bytes, start, end)
    this.#owner.noteInbound(end - start)
    return true
  }

  #assertHeadersSent(): void {
    if ((this.bits & STREAM.HEADERS_SENT) === 0) {
      throw new MeshError('INTERNAL', { detail: 'bytes on a stream before its headers' })
    }
  }
}
