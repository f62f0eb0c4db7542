// SPDX-License-Identifier: Apache-2.0
// Serves HTTP/1.1 on one ByteStream: a request, its answer, the next request. What a client sends early waits in the kernel.
// What it breaks is answered with the status of the reason, as long as no head of an answer has left; then the connection is cut.

import { type Refusal, refuse } from '../errors/refusal.ts'
import { type HeaderList, isInterim } from '../http/header-list.ts'
import { reasonAnswer } from '../http/reason-answer.ts'
import { CLOSED_OK, type CloseReason } from '../reactor/byte-stream.ts'
import type { Timer } from '../reactor/scheduler.ts'
import { Http1Connection, type Http1Options } from './connection.ts'
import { type Asked, answerHeadText } from './head-text.ts'
import { HTTP1_LIMITS } from './limits.ts'
import { type BodyLength, parseRequestHead, type RequestHead } from './request-head.ts'
import { EXCHANGE, Http1Stream } from './stream.ts'

/** What a server session tells its owner. */
export interface Http1ServerHandler {
  /**
   * A well-formed request, in the form of HTTP/2; `upgrade` stands among its fields when the client wants to change, and then no
   * end is told until somebody has answered: 101 makes the stream carry bytes. Nothing is read until the stream has a handler.
   */
  onStream(stream: Http1Stream, headers: HeaderList, isEnd: boolean): void
  /** What could not become a request; it was answered. For records. */
  onRefused(refusal: Refusal): void
  /** Exactly once and last, after onClose of the stream. */
  onClose(reason: CloseReason): void
}

/** What a server session needs. */
export interface Http1ServerOptions extends Http1Options {
  readonly handler: Http1ServerHandler
  /** Of the connection: what requests have as :scheme. */
  readonly scheme: 'http' | 'https'
  readonly idleTimeoutMs?: number
}

const UNREAD: Asked = { method: '', isOld: false, isKeptAlive: false }

/** A connection. It ends by `drain`, `destroy`, the client, or a fault. */
export class Http1ServerSession extends Http1Connection {
  readonly #handler: Http1ServerHandler
  readonly #scheme: string
  #idleTimeoutMs: number
  #request: RequestHead | null = null
  #isDraining = false
  #discardedBytes = 0
  #idleSinceMs: number
  #idleTimer: Timer

  constructor(options: Http1ServerOptions) {
    super(options)
    this.#handler = options.handler
    this.#scheme = options.scheme
    this.#idleTimeoutMs = options.idleTimeoutMs ?? HTTP1_LIMITS.idleTimeout.value
    this.#idleSinceMs = this.resources.scheduler.nowMs
    this.#idleTimer = this.#watchIdle(this.#idleTimeoutMs)
  }

  /** True between two requests. */
  get isIdle(): boolean {
    return this.stream === null && this.reader.isIdle
  }

  /**
   * The answer under way, or the next one, is the last. Who was told that the connection stays may be sending a request now, so
   * an idle one ends only when it stays idle.
   */
  drain(): void {
    if (this.#isDraining || this.state !== 'open') return
    this.#isDraining = true
    if (this.stream !== null && (this.stream.bits & EXCHANGE.HEAD_SENT) === 0) this.isKeptAlive = false
    this.#idleTimeoutMs = Math.min(this.#idleTimeoutMs, HTTP1_LIMITS.drainIdle.value)
    this.#idleSinceMs = this.resources.scheduler.nowMs
    this.#idleTimer.cancel()
    this.#idleTimer = this.#watchIdle(this.#idleTimeoutMs)
  }

  destroy(reason: CloseReason): void {
    this.close(reason)
  }

  onHead(text: string): BodyLength | null {
    const request = parseRequestHead(text, this.#scheme)
    if (request.kind === 'refusal') {
      this.onFault(request)
      return null
    }
    this.#request = request
    this.#discardedBytes = 0
    this.isKeptAlive = request.isKeptAlive && !this.#isDraining
    const stream = new Http1Stream(this)
    this.stream = stream
    const isTunnel = request.upgrade !== '' || request.method === 'CONNECT'
    if (isTunnel) stream.bits |= EXCHANGE.TUNNEL_ASKED
    else if (request.body.kind === 'none') stream.bits |= EXCHANGE.REMOTE_END
    this.reader.pause()
    this.#handler.onStream(stream, request.headers, stream.isRemoteEnded)
    if (stream.isReading || stream.isClosed) this.reader.resume()
    return this.state === 'open' ? request.body : null
  }

  sendHeaders(stream: Http1Stream, headers: HeaderList, isEnd: boolean): void {
    const request = this.#request
    if (request === null) return
    if (stream.bits & EXCHANGE.HEAD_SENT) {
      this.sendTrailers(stream, headers)
      return
    }
    const isLast = !isInterim(headers)
    // SPEC RFC9110 §15.2: a client of HTTP/1.0 knows no interim answers.
    if (!isLast && request.isOld) return
    // Whoever expects 100 and gets an answer may send the body or not: nobody could tell what comes next.
    const isUnsure = !stream.isRemoteEnded && request.headers.includes('expect')
    // SPEC RFC9110 §15.5.9: whoever says 408 waits for the rest no longer.
    const isGivenUp = !stream.isRemoteEnded && headers[1] === '408'
    if (isLast && (isUnsure || isGivenUp || stream.bits & EXCHANGE.TUNNEL_ASKED)) this.isKeptAlive = false
    const { method, isOld } = request
    const head = answerHeadText(headers, isEnd, { method, isOld, isKeptAlive: this.isKeptAlive })
    if (head.kind === 'refusal') {
      const code = head.code === 'HTTP1_MALFORMED' ? 'UPSTREAM_PROTOCOL' : head.code
      this.abort(stream, { code, detail: head.detail })
      return
    }
    if (head.framing === 'raw' && (stream.bits & EXCHANGE.TUNNEL_ASKED) === 0) {
      this.abort(stream, { code: 'UPSTREAM_PROTOCOL', detail: 'a change of protocol that nobody asked for' })
      return
    }
    this.writer.writeHead(head.text, head.framing, head.contentLength)
    if (!isLast) return
    this.isKeptAlive = head.isKeptAlive
    if (head.framing === 'raw') this.beginTunnel(stream)
    else if (stream.bits & EXCHANGE.TUNNEL_ASKED) {
      stream.bits &= ~EXCHANGE.TUNNEL_ASKED
      this.endRemote(stream)
    }
    this.noteHeadSent(stream, isEnd)
  }

  abort(stream: Http1Stream, reason: CloseReason): void {
    if (stream.bits & EXCHANGE.HEAD_SENT) this.close(reason)
    else this.#answer(reason)
  }

  protected failed(reason: CloseReason): void {
    const { stream } = this
    if (stream === null && !this.hasPeerEnded) this.#handler.onRefused(refuse(reason.code, reason.detail))
    const isAnswered = this.#request !== null && (stream === null || stream.isClosed)
    if (this.hasPeerEnded) this.close(reason)
    else if (isAnswered) this.linger()
    else if (stream !== null && stream.bits & EXCHANGE.HEAD_SENT) this.close(reason)
    else this.#answer(reason)
  }

  /** The session's own answer, the last one. */
  #answer(reason: CloseReason): void {
    const headers = reasonAnswer(this.#request?.headers ?? [], reason.code)
    const { method, isOld } = this.#request ?? UNREAD
    const head = answerHeadText(headers, true, { method, isOld, isKeptAlive: false })
    if (head.kind === 'head-text') this.writer.writeHead(head.text, 'none', -1)
    if (this.stream !== null) {
      this.stream.bits |= EXCHANGE.ANSWERED_BY_CODEC
      this.endStream(this.stream, reason)
    }
    this.isKeptAlive = false
    this.linger()
    this.defer()
  }

  protected override onLocalEnd(stream: Http1Stream): void {
    if (stream.bits & EXCHANGE.TUNNEL) {
      this.endIfComplete(stream)
      return
    }
    // The answer is complete, whatever the client still sends.
    this.endStream(stream, CLOSED_OK)
    this.#idleSinceMs = this.resources.scheduler.nowMs
    if (!this.isKeptAlive && !stream.isRemoteEnded) this.linger()
  }

  protected discard(bytes: number): boolean {
    this.#discardedBytes += bytes
    this.#idleSinceMs = this.resources.scheduler.nowMs
    return this.isKeptAlive && this.#discardedBytes <= HTTP1_LIMITS.discard.value
  }

  protected next(): boolean {
    if (!this.isKeptAlive) return false
    this.#request = null
    this.#idleSinceMs = this.resources.scheduler.nowMs
    this.reader.next()
    return true
  }

  protected peerEnded(): void {
    if (this.stream === null) this.linger()
    else this.failed({ code: 'PEER_RESET', detail: 'the client ended before it was answered' })
  }

  protected tellClose(reason: CloseReason): void {
    this.#idleTimer.cancel()
    this.#handler.onClose(reason)
  }

  /** One timer for all waits of a connection: it looks when it fires. */
  #watchIdle(delayMs: number): Timer {
    return this.resources.scheduler.startTimer(delayMs, () => {
      // Who is busy now may be idle the next moment. A head has its own time; the rest of a request that was answered has not.
      const isBusy = this.stream !== null || this.reader.isInHead
      const idleMs = isBusy ? 0 : this.resources.scheduler.nowMs - this.#idleSinceMs
      const leftMs = this.#idleTimeoutMs - idleMs
      if (leftMs > 0) this.#idleTimer = this.#watchIdle(leftMs)
      else this.linger()
    })
  }
}
