// SPDX-License-Identifier: Apache-2.0
// One exchange of a connection of HTTP/1.1, as the HttpStream that HTTP/2 gives too. It holds no bytes: what is not read stays
// with the connection, what is written goes to the transport.
import { MeshError } from '../errors/mesh-error.ts'
import type { HeaderList } from '../http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../http/http-stream.ts'
import type { Block, ByteStreamHandler, CloseReason } from '../reactor/byte-stream.ts'

/** Facts about an exchange, one bit each. */
export const EXCHANGE = {
  /** Our message is complete. */
  LOCAL_END: 1,
  /** The peer's message is complete. */
  REMOTE_END: 2,
  REMOTE_END_TOLD: 4,
  PAUSED: 8,
  /** write returned false: the owner waits for onDrain. */
  WANTS_DRAIN: 16,
  DRAINED: 32,
  CLOSED: 64,
  CLOSE_TOLD: 128,
  /** The head of our message was sent; a body may follow. */
  HEAD_SENT: 256,
  /** A byte of the answer has come (client). */
  ANSWERED: 512,
  /** The request asks for bytes of no message both ways (Upgrade, CONNECT); nobody has answered yet. */
  TUNNEL_ASKED: 1_024,
  /** It was granted. */
  TUNNEL: 2_048,
  /** The session has answered in the owner's place. */
  ANSWERED_BY_CODEC: 4_096,
} as const

/** What an exchange asks of its connection. */
export interface ExchangeOwner {
  sendHeaders(stream: Http1Stream, headers: HeaderList, isEnd: boolean): void
  writeBody(stream: Http1Stream, block: Block, start: number, end: number): boolean
  endBody(stream: Http1Stream): void
  abort(stream: Http1Stream, reason: CloseReason): void
  /** The stream is (not) read. */
  setPaused(isPaused: boolean): void
  /** Calls stream.runDeferred at the end of the turn. */
  defer(): void
  readonly bufferedBytes: number
}

/** Made by the sessions only. */
export class Http1Stream implements HttpStream {
  headersHandler: HttpHeadersHandler | null = null
  /** EXCHANGE bits: the connection's books. */
  bits = 0
  /** Null until the exchange is over. */
  closeReason: CloseReason | null = null
  readonly #owner: ExchangeOwner
  #handler: ByteStreamHandler | null = null

  constructor(owner: ExchangeOwner) {
    this.#owner = owner
  }

  get bufferedBytes(): number {
    return this.isClosed ? 0 : this.#owner.bufferedBytes
  }
  get isAnsweredByCodec(): boolean {
    return (this.bits & EXCHANGE.ANSWERED_BY_CODEC) !== 0
  }
  get isClosed(): boolean {
    return (this.bits & EXCHANGE.CLOSED) !== 0
  }
  get isRemoteEnded(): boolean {
    return (this.bits & EXCHANGE.REMOTE_END) !== 0
  }
  get isPaused(): boolean {
    return (this.bits & EXCHANGE.PAUSED) !== 0
  }
  /** True when somebody takes what is read. */
  get isReading(): boolean {
    return this.#handler !== null && !this.isPaused
  }
  /** Client, once closed with a failure: true when not one byte of the answer has come. */
  get isUnanswered(): boolean {
    return (this.bits & EXCHANGE.ANSWERED) === 0
  }

  setHandler(handler: ByteStreamHandler): void {
    const isFirst = this.#handler === null
    this.#handler = handler
    if (!isFirst) return
    if ((this.bits & EXCHANGE.PAUSED) === 0) this.#owner.setPaused(false)
    if (this.bits & (EXCHANGE.REMOTE_END | EXCHANGE.CLOSED)) this.#owner.defer()
  }

  sendHeaders(headers: HeaderList, isEnd: boolean): void {
    if (this.bits & (EXCHANGE.CLOSED | EXCHANGE.LOCAL_END)) return
    this.#owner.sendHeaders(this, headers, isEnd)
  }

  write(block: Block, start: number, end: number): boolean {
    if (this.bits & (EXCHANGE.CLOSED | EXCHANGE.LOCAL_END) || start >= end) return true
    this.#assertHeadSent()
    if (this.#owner.writeBody(this, block, start, end)) return true
    this.bits |= EXCHANGE.WANTS_DRAIN
    return false
  }

  end(): void {
    if (this.bits & (EXCHANGE.CLOSED | EXCHANGE.LOCAL_END)) return
    this.#assertHeadSent()
    this.#owner.endBody(this)
  }

  pause(): void {
    if (this.bits & EXCHANGE.PAUSED) return
    this.bits |= EXCHANGE.PAUSED
    if ((this.bits & EXCHANGE.CLOSED) === 0) this.#owner.setPaused(true)
  }

  resume(): void {
    if ((this.bits & EXCHANGE.PAUSED) === 0) return
    this.bits &= ~EXCHANGE.PAUSED
    if ((this.bits & EXCHANGE.CLOSED) === 0) this.#owner.setPaused(false)
  }

  destroy(reason: CloseReason): void {
    if ((this.bits & EXCHANGE.CLOSED) === 0) this.#owner.abort(this, reason)
  }

  /** Connection: part of the peer's body. */
  receive(block: Block, start: number, end: number): void {
    this.#handler?.onData(block, start, end)
  }

  /** Connection, at the end of a turn or from within an event: everything that may not happen inside a call of the owner's. */
  runDeferred(): void {
    const handler = this.#handler
    if (handler === null || this.bits & EXCHANGE.CLOSE_TOLD) return
    const isInOrder = this.closeReason === null || this.closeReason.code === 'OK'
    if (this.bits & EXCHANGE.REMOTE_END && isInOrder && (this.bits & EXCHANGE.REMOTE_END_TOLD) === 0) {
      this.bits |= EXCHANGE.REMOTE_END_TOLD
      handler.onEnd()
    }
    if (this.bits & EXCHANGE.DRAINED) {
      this.bits &= ~(EXCHANGE.DRAINED | EXCHANGE.WANTS_DRAIN)
      if ((this.bits & (EXCHANGE.CLOSED | EXCHANGE.LOCAL_END)) === 0) handler.onDrain()
    }
    if (this.closeReason === null || this.bits & EXCHANGE.CLOSE_TOLD) return
    this.bits |= EXCHANGE.CLOSE_TOLD
    handler.onClose(this.closeReason)
  }

  #assertHeadSent(): void {
    if ((this.bits & EXCHANGE.HEAD_SENT) === 0)
      throw new MeshError('INTERNAL', { detail: 'a body before its head' })
  }
}
