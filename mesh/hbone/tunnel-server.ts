// SPDX-License-Identifier: Apache-2.0
// The server end of one tunnel: accepts CONNECT, checks its form, and leaves the decision and the connection to its
// owner, who answers each request with `accept` (200) or `refuse`. Headers are claims; identity comes from mTLS.
import { REASONS } from '../errors/reasons.ts'
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import { H2Session } from '../h2/session.ts'
import type { H2SessionHandler } from '../h2/session-core.ts'
import type { InboundBudget, SessionResources } from '../h2/session-resources.ts'
import type { H2Stream } from '../h2/stream.ts'
import { type HeaderList, headerValue } from '../http/header-list.ts'
import type { ByteStream, CloseReason } from '../reactor/byte-stream.ts'
import { type ConnectTarget, parseAuthority } from './authority.ts'
import { DIVERTED_FOR_HEADER } from './diversion.ts'
import { KeepAlive } from './keep-alive.ts'

/** What a tunnel server tells its owner. */
export interface TunnelServerHandler {
  /** Set the stream's handler before returning (its onClose tells of a client that gave up), answer when decided. */
  onConnect(request: InboundConnect): void
  /** A request was refused for its form, before the owner saw it: for the record. */
  onMalformed(refusal: Refusal, authority: string): void
  /** Exactly once and last. */
  onClosed(reason: CloseReason): void
}

export interface TunnelServerOptions {
  /** Handshaken and verified; owned by the server from now on. */
  readonly transport: ByteStream
  readonly resources: SessionResources
  readonly handler: TunnelServerHandler
  readonly budget?: InboundBudget | undefined
  /** Streams the client may have open; default: the limit of HTTP/2 sessions. */
  readonly maxStreams?: number
}

/** A well-formed CONNECT that waits for its answer. */
export class InboundConnect {
  readonly target: ConnectTarget
  readonly authority: string
  readonly stream: H2Stream
  readonly #headers: HeaderList

  constructor(target: ConnectTarget, authority: string, stream: H2Stream, headers: HeaderList) {
    this.target = target
    this.authority = authority
    this.stream = stream
    this.#headers = headers
  }

  /** Value of a header, '' when absent; names in lower case. */
  header(name: string): string {
    return headerValue(this.#headers, name) ?? ''
  }
  get baggage(): string {
    return this.header('baggage')
  }
  get forwarded(): string {
    return this.header('forwarded')
  }
  get traceparent(): string {
    return this.header('traceparent')
  }
  /** Network of the sender on the inner CONNECT of double HBONE. */
  get forwardedNetwork(): string {
    return this.header('x-forwarded-network')
  }
  /** Of a connection that was diverted to a waypoint; '' for all others. */
  get divertedFor(): string {
    return this.header(DIVERTED_FOR_HEADER)
  }

  /** 200: the application is connected. `baggage` describes the destination; '' = none. */
  accept(baggage: string): void {
    this.stream.sendHeaders(
      baggage === '' ? [':status', '200'] : [':status', '200', 'baggage', baggage],
      false,
    )
  }

  /** The status of the reason, and the end of the stream. */
  refuse(refusal: Refusal): void {
    refuseStream(this.stream, refusal)
  }
}

// SPEC HBONE §3.4: errors carry END_STREAM and no body. SPEC RFC9113 §8.1: a complete response is followed by
// RST_STREAM(NO_ERROR), which asks the client to stop sending and frees the stream here.
function refuseStream(stream: H2Stream, refusal: Refusal): void {
  stream.sendHeaders([':status', String(REASONS[refusal.code].httpStatus)], true)
  stream.destroy({ code: 'OK', detail: `refused: ${refusal.code}` })
}

/** One tunnel. Owns its session. */
export class TunnelServer implements H2SessionHandler {
  readonly #handler: TunnelServerHandler
  readonly #session: H2Session
  readonly #keepAlive: KeepAlive

  constructor(options: TunnelServerOptions) {
    this.#handler = options.handler
    this.#session = new H2Session({
      role: 'server',
      transport: options.transport,
      resources: options.resources,
      handler: this,
      ...(options.budget === undefined ? {} : { budget: options.budget }),
      local: options.maxStreams === undefined ? {} : { maxConcurrentStreams: options.maxStreams },
    })
    this.#keepAlive = new KeepAlive(this.#session, options.resources.scheduler)
  }

  get openStreamCount(): number {
    return this.#session.openStreamCount
  }
  get isDraining(): boolean {
    return this.#session.isDraining
  }
  get idleSinceMs(): number {
    return this.#session.idleSinceMs
  }

  /** GOAWAY; open streams finish, then the tunnel closes. */
  drain(): void {
    this.#session.drain()
  }

  /** Ends everything at the end of the turn. */
  destroy(reason: CloseReason): void {
    this.#session.destroy(reason)
  }

  onStream(stream: H2Stream, headers: HeaderList): void {
    const authority = headerValue(headers, ':authority') ?? ''
    const isConnect = headerValue(headers, ':method') === 'CONNECT'
    const target = isConnect ? parseAuthority(authority) : refuse('CONNECT_METHOD')
    if (isRefusal(target)) {
      refuseStream(stream, target)
      this.#handler.onMalformed(target, authority)
      return
    }
    this.#handler.onConnect(new InboundConnect(target, authority, stream, headers))
  }

  onPeerSettings(): void {}
  onGoaway(): void {}

  onClose(reason: CloseReason): void {
    this.#keepAlive.stop()
    this.#handler.onClosed(reason)
  }
}
