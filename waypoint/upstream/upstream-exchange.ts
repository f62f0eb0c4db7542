// SPDX-License-Identifier: Apache-2.0
// A request under way at an endpoint: what its owner reports about it, and the place that it takes until it has ended.
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler } from '../../mesh/reactor/scheduler.ts'
import type { EndpointView, HttpVersion } from './cluster-view.ts'
import { httpStatusOf } from './outlier-detection.ts'
import type { AttemptOutcome } from './retry-policy.ts'
import type { UpstreamConnection } from './upstream-connection.ts'

/** Who keeps the books. */
export interface ExchangeBooks {
  readonly view: EndpointView
  /** The head of an answer came `latencyMs` after the request. */
  noteAnswer(status: number, latencyMs: number): void
  noteLocalFailure(): void
  /** It has ended: its connection may have room. */
  noteEnd(connection: UpstreamConnection): void
}

const ABANDONED: CloseReason = { code: 'STREAM_RESET', detail: 'the request has ended' }

/** Made by a pool, for `OpenHandler.onStream`. */
export class UpstreamExchange {
  readonly endpoint: EndpointView
  readonly version: HttpVersion
  /** The connection had served another request before. */
  readonly isReused: boolean
  readonly #books: ExchangeBooks
  readonly #stream: HttpStream
  readonly #connection: UpstreamConnection
  readonly #scheduler: Scheduler
  readonly #startedMs: number
  #isReported = false
  #isEnded = false

  constructor(
    books: ExchangeBooks,
    stream: HttpStream,
    version: HttpVersion,
    connection: UpstreamConnection,
    scheduler: Scheduler,
  ) {
    this.endpoint = books.view
    this.version = version
    this.isReused = connection.requestCount > 1
    this.#books = books
    this.#stream = stream
    this.#connection = connection
    this.#scheduler = scheduler
    this.#startedMs = scheduler.nowMs
  }

  /**
   * The head of the answer is here: for outlier detection and the choice of endpoints. `grpcStatus` of an answer that is
   * trailers only, else null. Of several reports the first counts.
   */
  answered(status: number, grpcStatus: number | null): void {
    if (this.#isReported) return
    this.#isReported = true
    this.#books.noteAnswer(httpStatusOf(status, grpcStatus), this.#scheduler.nowMs - this.#startedMs)
  }

  /** It ended without an answer, by the fault of the endpoint. Returns what decideRetry wants to know. */
  failed(reason: CloseReason): AttemptOutcome {
    const isUnprocessed = this.#connection.isUnprocessed(reason)
    // A server that goes in order has not failed.
    if (!isUnprocessed) this.#noteFailure()
    return { kind: 'reset', isUnprocessed, isStale: this.isReused && this.#connection.isSilent }
  }

  /** There was no answer in time; `end` follows. */
  timedOut(): AttemptOutcome {
    this.#noteFailure()
    this.#connection.probe()
    return { kind: 'timeout' }
  }

  /** Gives the place back, once the stream has closed; a stream that has not is reset. May be called twice. */
  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    if (!this.#stream.isClosed) this.#stream.destroy(ABANDONED)
    this.#books.noteEnd(this.#connection)
  }

  #noteFailure(): void {
    if (this.#isReported) return
    this.#isReported = true
    this.#books.noteLocalFailure()
  }
}
