// SPDX-License-Identifier: Apache-2.0
// One attempt to have a request answered: a stream to one endpoint, and how it ends. It knows nothing of retries and filters:
// its exchange does.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import { type HeaderList, headerValue } from '../../mesh/http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../../mesh/http/http-stream.ts'
import type { Block, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import type { OpenHandler } from '../upstream/open-attempt.ts'
import type { RetryPlace } from '../upstream/retry-allowance.ts'
import { type AttemptOutcome, refusedOutcome } from '../upstream/retry-policy.ts'
import type { UpstreamExchange } from '../upstream/upstream-exchange.ts'
import type { KnownCluster } from './waypoint-context.ts'

/** Hears an attempt. After `onLost`, and after the exchange has dropped it, nothing more is told. */
export interface AttemptOwner {
  /** The head of the request is sent; its body may follow. */
  onOpened(attempt: Attempt): void
  onInterim(headers: HeaderList): void
  onAnswer(attempt: Attempt, status: number, headers: HeaderList, isEnd: boolean): void
  onTrailers(headers: HeaderList): void
  onAnswerData(attempt: Attempt, block: Block, start: number, end: number): void
  onAnswerEnd(): void
  /** The service takes bytes again. */
  onRequestDrain(): void
  /** It has ended: in order when `reason` is OK and an answer was whole. */
  onLost(attempt: Attempt, reason: CloseReason, outcome: AttemptOutcome): void
}

/** opening → open → answered → over. */
export class Attempt implements OpenHandler, ByteStreamHandler, HttpHeadersHandler {
  readonly known: KnownCluster
  /** Of one that is a retry. */
  readonly place: RetryPlace | null
  stream: HttpStream | null = null
  upstream: UpstreamExchange | null = null
  hasAnswer = false
  hasEnded = false
  /** Of an answer that is trailers only. */
  grpcStatus: number | null = null
  timer: Timer | null = null
  #owner: AttemptOwner | null
  #opening: Cancellable | null = null
  #refusedBy: EndpointView | null = null

  constructor(known: KnownCluster, place: RetryPlace | null, owner: AttemptOwner) {
    this.known = known
    this.place = place
    this.#owner = owner
  }

  /** What can still be stopped. */
  opening(cancellable: Cancellable): void {
    if (this.#owner !== null && this.stream === null) this.#opening = cancellable
  }

  /** The one that it went to, or that could not be reached; null: none was chosen. */
  get endpoint(): EndpointView | null {
    return this.upstream?.endpoint ?? this.#refusedBy
  }

  /** The exchange wants nothing of it any more. */
  drop(): void {
    this.#owner = null
    this.#opening?.cancel()
    this.#opening = null
    this.#finish()
  }

  // ---- OpenHandler

  onStream(stream: HttpStream, exchange: UpstreamExchange): void {
    this.#opening = null
    this.stream = stream
    this.upstream = exchange
    stream.headersHandler = this
    stream.setHandler(this)
    this.#owner?.onOpened(this)
  }

  onRefused(refusal: Refusal, endpoint: EndpointView | null): void {
    this.#opening = null
    const owner = this.#owner
    this.#owner = null
    this.#finish()
    this.#refusedBy = endpoint
    owner?.onLost(this, refusal, refusedOutcome(endpoint))
  }

  // ---- HttpHeadersHandler, ByteStreamHandler

  onHeaders(stream: HttpStream, headers: HeaderList, isEnd: boolean): void {
    if (this.hasAnswer) {
      this.hasEnded = true
      this.#owner?.onTrailers(headers)
      return
    }
    const status = Number(headerValue(headers, ':status') ?? '0')
    if (status < 200 && status !== 101) {
      this.#owner?.onInterim(headers)
      return
    }
    this.hasAnswer = true
    this.hasEnded = isEnd
    const grpc = isEnd ? headerValue(headers, 'grpc-status') : undefined
    this.grpcStatus = grpc === undefined ? null : Number(grpc)
    this.upstream?.answered(status, this.grpcStatus)
    this.#owner?.onAnswer(this, status, headers, isEnd)
    if (this.#owner === null && !stream.isClosed) stream.destroy(UNWANTED)
  }

  onData(block: Block, start: number, end: number): void {
    this.#owner?.onAnswerData(this, block, start, end)
  }

  onEnd(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.#owner?.onAnswerEnd()
  }

  onDrain(): void {
    this.#owner?.onRequestDrain()
  }

  onClose(reason: CloseReason): void {
    const owner = this.#owner
    this.#owner = null
    const outcome = this.hasAnswer ? null : this.upstream?.failed(reason)
    this.#finish()
    owner?.onLost(this, reason, outcome ?? refusedOutcome(null))
  }

  #finish(): void {
    this.timer?.cancel()
    this.timer = null
    this.place?.giveBack()
    this.upstream?.end()
  }
}

const UNWANTED: CloseReason = { code: 'STREAM_RESET', detail: 'the request has ended' }
