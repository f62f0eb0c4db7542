// SPDX-License-Identifier: Apache-2.0
// Calls HTTP/1.1 on one ByteStream: one exchange at a time, as many as the server allows. What comes when nothing was asked,
// or after an answer, is a fault: it could be taken for the answer to the next request.
import { MeshError } from '../errors/mesh-error.ts'
import { type Refusal, refuse } from '../errors/refusal.ts'
import { type HeaderList, pseudoHeader } from '../http/header-list.ts'
import type { Block, CloseReason } from '../reactor/byte-stream.ts'
import { Http1Connection, type Http1Options } from './connection.ts'
import { requestHeadText } from './head-text.ts'
import { HTTP1_LIMITS } from './limits.ts'
import type { BodyLength } from './request-head.ts'
import { parseResponseHead } from './response-head.ts'
import { EXCHANGE, Http1Stream } from './stream.ts'

/** What a client session tells its owner. */
export interface Http1ClientHandler {
  /** After onClose of a stream: another may be opened. */
  onIdle(): void
  /** Exactly once and last, after onClose of the stream. */
  onClose(reason: CloseReason): void
}

/** What a client session needs. */
export interface Http1ClientOptions extends Http1Options {
  readonly handler: Http1ClientHandler
}

/** A connection. It ends by `drain`, `destroy`, the server, or a fault. */
export class Http1ClientSession extends Http1Connection {
  readonly #handler: Http1ClientHandler
  #method = ''
  #interimCount = 0
  #isIdleOwed = false

  constructor(options: Http1ClientOptions) {
    super(options)
    this.#handler = options.handler
  }

  /** True when a request may be sent. */
  get isIdle(): boolean {
    return this.state === 'open' && this.stream === null && this.isKeptAlive && !this.hasPeerEnded
  }

  /**
   * Sends the head of a request. Its answers come to `headersHandler`, which may be set after this call. With `upgrade` among the
   * fields, or CONNECT, no body is sent; 101 (2xx) makes the stream carry bytes. Refused: what cannot be sent here, or now.
   */
  openStream(headers: HeaderList, isEnd = false): Http1Stream | Refusal {
    if (!this.isIdle) return refuse('LIMIT_CONNECTION', 'one exchange at a time, until the server closes')
    const head = requestHeadText(headers, isEnd)
    if (head.kind === 'refusal') return head
    const stream = new Http1Stream(this)
    this.stream = stream
    this.#method = pseudoHeader(headers, ':method')
    this.#interimCount = 0
    this.writer.hasSent = false
    if (head.isTunnel) stream.bits |= EXCHANGE.TUNNEL_ASKED
    this.writer.writeHead(head.text, head.framing, head.contentLength)
    this.noteHeadSent(stream, isEnd && !head.isTunnel)
    return stream
  }

  /** True while not a byte of the request has been handed to the transport: a failure until then is safe to repeat. */
  get isUnsent(): boolean {
    return !this.writer.hasSent
  }

  /** Ends once the exchange under way is over. */
  drain(): void {
    this.isKeptAlive = false
    if (this.stream === null) this.linger()
  }

  destroy(reason: CloseReason): void {
    this.close(reason)
  }

  override onData(block: Block, start: number, end: number): void {
    const { stream } = this
    if (stream === null || stream.isClosed) {
      // SPEC RFC9112 §9.2: an answer that nobody asked for is no answer.
      if (this.state === 'open') this.failed({ code: 'HTTP1_AMBIGUOUS', detail: 'bytes after the answer' })
      return
    }
    if (start < end) stream.bits |= EXCHANGE.ANSWERED
    super.onData(block, start, end)
  }

  onHead(text: string): BodyLength | 'interim' | null {
    const { stream } = this
    const response = parseResponseHead(text, this.#method)
    if (stream === null) return null
    if (response.kind === 'refusal') {
      this.onFault(response)
      return null
    }
    const { status, headers, body } = response
    if (status < 200 && status !== 101) {
      if (++this.#interimCount > HTTP1_LIMITS.interim.value) {
        this.onFault(refuse('HTTP1_MALFORMED', 'too many interim answers'))
        return null
      }
      stream.headersHandler?.onHeaders(stream, headers, false)
      return this.state === 'open' ? 'interim' : null
    }
    const isTunnel = status === 101 || (this.#method === 'CONNECT' && status < 300)
    if (isTunnel && (stream.bits & EXCHANGE.TUNNEL_ASKED) === 0) {
      this.onFault(refuse('HTTP1_MALFORMED', 'a change of protocol that nobody asked for'))
      return null
    }
    if (!response.isKeptAlive) this.isKeptAlive = false
    if (!isTunnel && stream.bits & EXCHANGE.TUNNEL_ASKED) {
      stream.bits = (stream.bits & ~EXCHANGE.TUNNEL_ASKED) | EXCHANGE.LOCAL_END
      this.isKeptAlive = false
    }
    if (!stream.isReading) this.reader.pause()
    stream.headersHandler?.onHeaders(stream, headers, !isTunnel && body.kind === 'none')
    return this.state === 'open' ? body : null
  }

  override onMessageEnd(): void {
    const { stream } = this
    if (stream !== null && stream.bits & EXCHANGE.TUNNEL_ASKED) {
      this.writer.writeHead('', 'raw', -1)
      this.beginTunnel(stream)
    } else super.onMessageEnd()
  }

  sendHeaders(stream: Http1Stream, headers: HeaderList, isEnd: boolean): void {
    if (!isEnd) throw new MeshError('INTERNAL', { detail: 'a request has one head' })
    this.sendTrailers(stream, headers)
  }

  abort(_stream: Http1Stream, reason: CloseReason): void {
    this.close(reason)
  }

  /** What the server broke is never told the client as its own fault. */
  protected failed(reason: CloseReason): void {
    const isProtocol = reason.code.startsWith('HTTP')
    this.close(
      isProtocol ? { code: 'UPSTREAM_PROTOCOL', detail: `${reason.code}: ${reason.detail}` } : reason,
    )
  }

  /** The exchange is over, so nothing of a body can be left. */
  protected discard(): boolean {
    return false
  }

  protected next(): boolean {
    if (!this.isKeptAlive || this.bufferedInboundBytes > 0) return false
    this.reader.next()
    this.#isIdleOwed = true
    this.defer()
    return true
  }

  override runAtTurnEnd(): void {
    super.runAtTurnEnd()
    if (!this.#isIdleOwed) return
    this.#isIdleOwed = false
    if (this.isIdle) this.#handler.onIdle()
  }

  protected peerEnded(): void {
    if (this.stream === null) this.linger()
    else this.failed({ code: 'PEER_RESET', detail: 'the server ended before it had answered' })
  }

  protected tellClose(reason: CloseReason): void {
    this.#handler.onClose(reason)
  }
}
