// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 to an endpoint: one request at a time on a connection that is kept.
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import { type Http1ClientHandler, Http1ClientSession } from '../../mesh/http1/client-session.ts'
import type { Http1Stream } from '../../mesh/http1/stream.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { ConnectionHandler, UpstreamConnection } from './upstream-connection.ts'

export class Http1UpstreamConnection implements UpstreamConnection, Http1ClientHandler {
  isReady = false
  readonly capacity = 1
  /** It closes with its request: nobody waits for that any longer than for a free one. */
  readonly isEnding = false
  readonly startedMs: number
  requestCount = 0
  idleSinceMs: number
  readonly #session: Http1ClientSession
  readonly #resources: SessionResources
  readonly #handler: ConnectionHandler
  /** Of the last request. */
  #stream: Http1Stream | null = null
  #isBusy = false

  constructor(transport: ByteStream, resources: SessionResources, handler: ConnectionHandler) {
    this.#handler = handler
    this.#resources = resources
    this.startedMs = resources.scheduler.nowMs
    this.idleSinceMs = this.startedMs
    this.#session = new Http1ClientSession({ transport, resources, handler: this })
  }

  get hasRoom(): boolean {
    return this.#session.isIdle
  }
  get openCount(): number {
    return this.#isBusy ? 1 : 0
  }

  start(headers: HeaderList, isEnd: boolean): HttpStream | Refusal {
    const stream = this.#session.openStream(headers, isEnd)
    if (isRefusal(stream)) return stream
    this.requestCount++
    this.#stream = stream
    this.#isBusy = true
    return stream
  }

  isUnprocessed(reason: CloseReason): boolean {
    return reason.code !== 'OK' && this.#session.isUnsent
  }

  get isSilent(): boolean {
    return this.#stream?.isUnanswered ?? true
  }

  probe(): void {} // the connection ends with its request

  drain(): void {
    this.#session.drain()
  }

  destroy(reason: CloseReason): void {
    this.#session.destroy(reason)
  }

  onIdle(): void {
    this.#isBusy = false
    this.idleSinceMs = this.#resources.scheduler.nowMs
    this.#handler.onRoom(this)
  }

  onClose(): void {
    this.#isBusy = false
    this.#handler.onConnectionClosed(this)
  }
}
