// SPDX-License-Identifier: Apache-2.0
// Joins a request that came to the exchange that carries it on, whichever versions of HTTP they are: heads, interim answers,
// bodies with back-pressure, trailers, the end of each half, failures with their reasons. It decides nothing.
import { type HeaderList, isInterim } from '../../mesh/http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../../mesh/http/http-stream.ts'
import { cutShort, upstreamReason } from '../../mesh/http/reason-answer.ts'
import type { Block, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { CLOSED_OK } from '../../mesh/reactor/byte-stream.ts'

/** Hears what a relay cannot decide. */
export interface HttpRelayOwner {
  /** The answer came: what of it is sent on. Not called for interim answers and trailers. */
  onAnswer(headers: HeaderList): HeaderList
  /** The upstream is over, and no answer has come: the owner answers the request, or destroys it. */
  onUnanswered(reason: CloseReason): void
  /** Exactly once and last, after both are closed. `OK`: request and answer have passed whole. */
  onRelayClosed(reason: CloseReason): void
}

/** What a request and its answer have in common here; the relay owns both streams from the start to onRelayClosed. */
export class HttpRelay {
  readonly #owner: HttpRelayOwner
  readonly #down: HttpStream
  readonly #up: HttpStream
  readonly #request: RequestSide
  readonly #answer: AnswerSide
  readonly #isConnect: boolean
  #isTunnel = false
  #reason: CloseReason = CLOSED_OK

  /** `down`: a server's; `up`: a client's, whose request has been sent. `isConnect`: that request is CONNECT. */
  constructor(down: HttpStream, up: HttpStream, owner: HttpRelayOwner, isConnect = false) {
    this.#owner = owner
    this.#down = down
    this.#up = up
    this.#isConnect = isConnect
    this.#request = new RequestSide(this, down, up)
    this.#answer = new AnswerSide(this, down, up)
    down.headersHandler = this.#request
    up.headersHandler = this.#answer
    down.setHandler(this.#request)
    up.setHandler(this.#answer)
  }

  /** Bytes of the request's body so far. */
  get requestBytes(): number {
    return this.#request.byteCount
  }
  /** Bytes of the answer's body so far. */
  get answerBytes(): number {
    return this.#answer.byteCount
  }
  /** True once the answer is being sent on: nobody else can answer any more. */
  get isAnswered(): boolean {
    return this.#answer.isAnswered
  }

  onAnswer(headers: HeaderList): HeaderList {
    const status = headers[1] ?? ''
    this.#isTunnel = status === '101' || (this.#isConnect && status.startsWith('2'))
    return this.#owner.onAnswer(headers)
  }

  onDownClosed(reason: CloseReason): void {
    const isWhole = this.#request.hasEnded && this.#answer.hasEnded
    if (reason.code !== 'OK') {
      this.#note(reason)
      const { code, detail } = reason
      const isFault = code.startsWith('H2_') || code.startsWith('HTTP') // never told the service as its own
      this.#up.destroy(isFault ? { code: 'STREAM_RESET', detail: `${code}: ${detail}` } : reason)
    } else if (!isWhole) this.#up.destroy({ code: 'STREAM_RESET', detail: 'the request was answered' })
    this.#settle()
  }

  onUpClosed(reason: CloseReason): void {
    // After the whole answer only a tunnel has something left to lose. SPEC RFC9113 §8.1: an answer stays one.
    const isDone = this.#answer.hasEnded && !this.#isTunnel
    if (!isDone && !this.#request.isClosed) {
      const failure: CloseReason = upstreamReason(reason)
      if (reason.code !== 'OK') this.#note(failure)
      if (!this.#answer.isAnswered) this.#owner.onUnanswered(failure)
      else if (reason.code !== 'OK') this.#down.destroy(cutShort(failure))
    }
    // What the client still sends is nobody's; it may finish.
    if (!this.#request.isClosed) this.#down.resume()
    this.#settle()
  }

  #note(reason: CloseReason): void {
    if (this.#reason.code === 'OK') this.#reason = reason
  }

  #settle(): void {
    if (this.#request.isClosed && this.#answer.isClosed) this.#owner.onRelayClosed(this.#reason)
  }
}

/** What came is sent upstream. */
class RequestSide implements ByteStreamHandler, HttpHeadersHandler {
  readonly #relay: HttpRelay
  readonly #down: HttpStream
  readonly #up: HttpStream
  byteCount = 0
  hasEnded = false
  isClosed = false

  constructor(relay: HttpRelay, down: HttpStream, up: HttpStream) {
    this.#relay = relay
    this.#down = down
    this.#up = up
  }

  onHeaders(_stream: HttpStream, trailers: HeaderList): void {
    this.hasEnded = true
    this.#up.sendHeaders(trailers, true)
  }

  onData(block: Block, start: number, end: number): void {
    this.byteCount += end - start
    if (!this.#up.write(block, start, end)) this.#down.pause()
  }

  onEnd(): void {
    this.hasEnded = true
    this.#up.end()
  }

  onDrain(): void {
    this.#up.resume()
  }

  onClose(reason: CloseReason): void {
    this.isClosed = true
    this.#relay.onDownClosed(reason)
  }
}

/** What the upstream says is sent back. */
class AnswerSide implements ByteStreamHandler, HttpHeadersHandler {
  readonly #relay: HttpRelay
  readonly #down: HttpStream
  readonly #up: HttpStream
  byteCount = 0
  isAnswered = false
  hasEnded = false
  isClosed = false

  constructor(relay: HttpRelay, down: HttpStream, up: HttpStream) {
    this.#relay = relay
    this.#down = down
    this.#up = up
  }

  onHeaders(_stream: HttpStream, headers: HeaderList, isEnd: boolean): void {
    if (!this.isAnswered && isInterim(headers)) {
      this.#down.sendHeaders(headers, false)
      return
    }
    if (isEnd) this.hasEnded = true
    const sent = this.isAnswered ? headers : this.#relay.onAnswer(headers)
    this.isAnswered = true
    this.#down.sendHeaders(sent, isEnd)
  }

  onData(block: Block, start: number, end: number): void {
    this.byteCount += end - start
    if (!this.#down.write(block, start, end)) this.#up.pause()
  }

  onEnd(): void {
    this.hasEnded = true
    this.#down.end()
  }

  onDrain(): void {
    this.#down.resume()
  }

  onClose(reason: CloseReason): void {
    this.isClosed = true
    this.#relay.onUpClosed(reason)
  }
}
