// SPDX-License-Identifier: Apache-2.0
// One request that wants a stream to an endpoint: from `open` to exactly one outcome, unless it is cancelled before.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { EndpointView, HttpVersion } from './cluster-view.ts'
import type { UpstreamExchange } from './upstream-exchange.ts'

/** What is asked for. */
export interface OpenRequest {
  /** As `version` wants them. */
  readonly headers: HeaderList
  /** The head is all of the request. */
  readonly isEnd: boolean
  /** What it is sent with: `Cluster.versionFor`. */
  readonly version: HttpVersion
  /** Key for consistent hashing (hash-key.ts); null: none. */
  readonly hash: string | null
  /** Keys of endpoints tried before: chosen again only when there is no other. */
  readonly exclude: ReadonlySet<string> | null
  /** Endpoint of the client’s session, taken when it is in use; null: none. */
  readonly stickyKey: string | null
  /** Address of the endpoint that the caller named, for PASSTHROUGH; null: it named the service. */
  readonly askedIp: string | null
}

/** The outcome: one call, never from inside a call of the owner’s. */
export interface OpenHandler {
  /** The head is sent. Set the stream’s handlers before returning; call `exchange.end()` when it is over. */
  onStream(stream: HttpStream, exchange: UpstreamExchange): void
  /** Nothing was sent. `endpoint`: the one that could not be reached, null: it is nobody’s fault. */
  onRefused(refusal: Refusal, endpoint: EndpointView | null): void
}

/** Where an attempt waits. */
export interface AttemptQueue {
  forget(attempt: OpenAttempt): void
}

/** Made by Cluster. */
export class OpenAttempt implements Cancellable {
  readonly request: OpenRequest
  /** Where it waits; null: nowhere. */
  queue: AttemptQueue | null = null
  /** Endpoints that it was given to. */
  placementCount = 0
  /** Null once the outcome was told or is not wanted. */
  #handler: OpenHandler | null

  constructor(request: OpenRequest, handler: OpenHandler) {
    this.request = request
    this.#handler = handler
  }

  get isDone(): boolean {
    return this.#handler === null
  }

  cancel(): void {
    this.#handler = null
    this.queue?.forget(this)
    this.queue = null
  }

  succeed(stream: HttpStream, exchange: UpstreamExchange): void {
    this.#take()?.onStream(stream, exchange)
  }

  refuse(refusal: Refusal, endpoint: EndpointView | null): void {
    this.#take()?.onRefused(refusal, endpoint)
  }

  #take(): OpenHandler | null {
    const handler = this.#handler
    this.#handler = null
    this.queue = null
    return handler
  }
}
