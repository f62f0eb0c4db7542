// SPDX-License-Identifier: Apache-2.0
// HTTP/2 to an endpoint: many requests at once, until the server says that it goes.
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import { H2Session } from '../../mesh/h2/session.ts'
import type { H2SessionHandler } from '../../mesh/h2/session-core.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import { MAX_HTTP2_STREAMS, PROBE_TIMEOUT_MS } from './limits.ts'
import type { ConnectionHandler, UpstreamConnection } from './upstream-connection.ts'

export class Http2UpstreamConnection implements UpstreamConnection, H2SessionHandler {
  isReady = false
  readonly startedMs: number
  requestCount = 0
  readonly #session: H2Session
  readonly #resources: SessionResources
  readonly #handler: ConnectionHandler
  readonly #expectedStreams: number
  #hasSettings = false
  /** Runs while a PING is unanswered. */
  #probeTimer: Timer | null = null

  /** `expectedStreams`: what the server is taken to allow until its SETTINGS say. */
  constructor(
    transport: ByteStream,
    resources: SessionResources,
    handler: ConnectionHandler,
    expectedStreams: number,
  ) {
    this.#expectedStreams = expectedStreams
    this.#handler = handler
    this.#resources = resources
    this.startedMs = resources.scheduler.nowMs
    this.#session = new H2Session({ role: 'client', transport, resources, handler: this })
  }

  get openCount(): number {
    return this.#session.openStreamCount
  }
  get idleSinceMs(): number {
    return this.#session.idleSinceMs
  }
  get capacity(): number {
    if (!this.#hasSettings) return this.#expectedStreams
    // At least one: who allows none refuses that one, where not asking would mean connecting without end.
    return Math.min(MAX_HTTP2_STREAMS, Math.max(1, this.#session.peerMaxConcurrentStreams))
  }
  get isEnding(): boolean {
    return this.#session.isDraining
  }
  get hasRoom(): boolean {
    return !this.isEnding && this.#session.openStreamCount < this.capacity
  }

  start(headers: HeaderList, isEnd: boolean): HttpStream | Refusal {
    const stream = this.#session.openStream(headers, isEnd)
    if (!isRefusal(stream)) this.requestCount++
    return stream
  }

  /** SPEC RFC9113 §8.7: REFUSED_STREAM, and GOAWAY with a lower id, promise it. */
  isUnprocessed({ code, detail }: CloseReason): boolean {
    return code === 'DRAIN' || (code === 'TUNNEL_REFUSED' && detail === 'refused_stream')
  }

  /** Many share the connection, and who else is asked on it can only be told by what comes back. */
  get isSilent(): boolean {
    return false
  }

  probe(): void {
    if (this.#probeTimer !== null || !this.#session.ping(() => this.#endProbe())) return
    this.#probeTimer = this.#resources.scheduler.startTimer(PROBE_TIMEOUT_MS, () =>
      this.destroy({ code: 'PEER_UNRESPONSIVE', detail: 'no answer to PING after a request had none' }),
    )
  }

  drain(): void {
    this.#session.drain()
  }

  destroy(reason: CloseReason): void {
    this.#session.destroy(reason)
  }

  onStream(): void {} // a client accepts none

  onPeerSettings(): void {
    this.#hasSettings = true
    this.#handler.onRoom(this) // it may allow more, or fewer, than was thought
  }

  onGoaway(): void {} // hasRoom says it; those that were not processed hear it on their stream

  onClose(): void {
    this.#endProbe()
    this.#handler.onConnectionClosed(this)
  }

  #endProbe(): void {
    this.#probeTimer?.cancel()
    this.#probeTimer = null
  }
}
