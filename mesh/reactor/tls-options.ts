// SPDX-License-Identifier: Apache-2.0
// What a TLS connection is made of, and who hears how its handshake ends.
import type { CloseReason } from './byte-stream.ts'
import type { TlsContext, TlsCredentials } from './tls-context.ts'
import type { HandshakeChecks, PeerFacts } from './tls-handshake.ts'
import type { TlsSocket } from './tls-socket.ts'
import type { TurnShare } from './turn-share.ts'

/** Hears how the handshake ends: one of the two, once. */
export interface TlsHandler {
  /** Set the stream handler now. */
  onSecure(socket: TlsSocket, peer: PeerFacts): void
  onHandshakeFailed(reason: CloseReason): void
}

/** What a TLS connection needs. */
export interface TlsOptions extends HandshakeChecks {
  readonly role: 'client' | 'server'
  readonly context: TlsContext
  readonly credentials: TlsCredentials
  readonly handshakeTimeoutMs: number
  readonly handler: TlsHandler
  /** The descriptor is in the epoll set already (it comes from a connect). */
  readonly isWatched?: boolean
  /** Of whose part of a turn it reads and signs; none: whenever it can. */
  readonly share?: TurnShare
}
