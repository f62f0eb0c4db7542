// SPDX-License-Identifier: Apache-2.0
// The client end of one tunnel: an mTLS connection whose HTTP/2 streams are TCP connections of a pod. Streams may be
// opened at once; the state is `connecting` only until the peer has shown that it speaks HTTP/2.
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import { H2Session } from '../h2/session.ts'
import type { H2SessionHandler } from '../h2/session-core.ts'
import type { InboundBudget, SessionResources } from '../h2/session-resources.ts'
import type { ByteStream, CloseReason } from '../reactor/byte-stream.ts'
import {
  ConnectAttempt,
  type ConnectHandler,
  type ConnectRequest,
  connectHeaders,
} from './connect-attempt.ts'
import { KeepAlive } from './keep-alive.ts'
import { HBONE_LIMITS } from './limits.ts'

/** connecting → ready → draining → closed; a failure jumps to closed. No way back. */
export type TunnelState = 'connecting' | 'ready' | 'draining' | 'closed'

/** What a tunnel tells its owner (the pool). */
export interface TunnelHandler {
  /** The peer's SETTINGS arrived; its limit of streams is known. */
  onReady(tunnel: TunnelClient): void
  /** No new streams; the open ones go on. */
  onDraining(tunnel: TunnelClient): void
  /** Exactly once and last. */
  onClosed(tunnel: TunnelClient, reason: CloseReason): void
}

export interface TunnelClientOptions {
  /** Connected and verified; owned by the tunnel from now on. */
  readonly transport: ByteStream
  readonly resources: SessionResources
  readonly handler: TunnelHandler
  readonly budget?: InboundBudget | undefined
  /** Streams we open at most, whatever the peer allows. */
  readonly maxStreams?: number
  /** Streams the peer is expected to allow, until its SETTINGS say; default: any number. */
  readonly expectedStreams?: number
}

/** One tunnel. Owns its session. */
export class TunnelClient implements H2SessionHandler {
  readonly #resources: SessionResources
  readonly #handler: TunnelHandler
  readonly #maxStreams: number
  readonly #expectedStreams: number
  readonly #session: H2Session
  readonly #keepAlive: KeepAlive
  #state: TunnelState = 'connecting'
  #wasReady = false

  constructor(options: TunnelClientOptions) {
    this.#resources = options.resources
    this.#handler = options.handler
    this.#maxStreams = options.maxStreams ?? HBONE_LIMITS.streamsPerConnection.value
    this.#expectedStreams = options.expectedStreams ?? Number.POSITIVE_INFINITY
    this.#session = new H2Session({
      role: 'client',
      transport: options.transport,
      resources: options.resources,
      handler: this,
      ...(options.budget === undefined ? {} : { budget: options.budget }),
    })
    this.#keepAlive = new KeepAlive(this.#session, options.resources.scheduler)
  }

  get state(): TunnelState {
    return this.#state
  }
  /** True when the peer has ever answered: what fails before is a failed dial. */
  get wasReady(): boolean {
    return this.#wasReady
  }
  get openStreamCount(): number {
    return this.#session.openStreamCount
  }
  get idleSinceMs(): number {
    return this.#session.idleSinceMs
  }
  /** Latest PING round trip, −1 before the first. */
  get roundTripMs(): number {
    return this.#keepAlive.roundTripMs
  }
  /** Streams the peer allows, or is expected to allow before it has answered. */
  get peerStreams(): number {
    return this.#wasReady ? this.#session.peerMaxConcurrentStreams : this.#expectedStreams
  }
  /** True when another stream may be opened now. */
  get hasRoom(): boolean {
    if (this.#state !== 'connecting' && this.#state !== 'ready') return false
    return this.#session.openStreamCount < Math.min(this.#maxStreams, this.peerStreams)
  }

  /** Asks the peer to connect. A refusal means that nothing was sent. */
  openConnect(request: ConnectRequest, handler: ConnectHandler): ConnectAttempt | Refusal {
    if (this.#state === 'draining' || this.#state === 'closed')
      return refuse('DRAIN', `the tunnel is ${this.#state}`)
    if (!this.hasRoom) return refuse('LIMIT_CONNECTION', 'streams of one tunnel')
    const stream = this.#session.openStream(connectHeaders(request))
    if (isRefusal(stream)) return stream
    return new ConnectAttempt(stream, handler, this.#resources.scheduler)
  }

  /** Takes no new streams and closes when the last one ends. */
  drain(): void {
    if (this.#transition(['connecting', 'ready'], 'draining')) this.#session.drain()
  }

  /** Ends all streams with `reason` at the end of the turn. */
  destroy(reason: CloseReason): void {
    if (this.#state !== 'closed') this.#session.destroy(reason)
  }

  onStream(): void {} // a client session accepts no streams

  onPeerSettings(): void {
    this.#wasReady = true
    if (this.#transition(['connecting'], 'ready')) this.#handler.onReady(this)
  }

  onGoaway(): void {
    if (this.#transition(['connecting', 'ready'], 'draining')) this.#handler.onDraining(this)
  }

  onClose(reason: CloseReason): void {
    this.#keepAlive.stop()
    if (this.#transition(['connecting', 'ready', 'draining'], 'closed')) this.#handler.onClosed(this, reason)
  }

  #transition(from: readonly TunnelState[], next: TunnelState): boolean {
    if (!from.includes(this.#state)) return false // lost a race: the winner already acted
    this.#state = next
    return true
  }
}
