// SPDX-License-Identifier: Apache-2.0
// One mTLS connection of a caller's node: handshake with the waypoint's certificate, then its CONNECT streams.
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import {
  type InboundConnect,
  TunnelServer,
  type TunnelServerHandler,
} from '../../mesh/hbone/tunnel-server.ts'
import { checkTrustDomain, firstSpiffeId } from '../../mesh/identity/peer-identity.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { peerAddress } from '../../mesh/reactor/socket-options.ts'
import type { PeerFacts } from '../../mesh/reactor/tls-handshake.ts'
import type { TlsHandler } from '../../mesh/reactor/tls-options.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import { Members } from '../../mesh/runtime/members.ts'
import { recordConnection } from '../carry/exchange-record.ts'
import { HANDSHAKE_TIMEOUT_MS } from '../carry/limits.ts'
import type { WaypointContext } from '../carry/waypoint-context.ts'
import { Connect, type TunnelPeer } from './connect.ts'

/** handshake → serving → closed. */
export class Tunnel implements TlsHandler, TunnelServerHandler {
  readonly #context: WaypointContext
  readonly #ip: string
  readonly #onEnded: (tunnel: Tunnel) => void
  readonly #connects = new Members<Connect>()
  #socket: TlsSocket | null = null
  #server: TunnelServer | null = null
  #peer: TunnelPeer | null = null
  #isDraining = false
  #isOver = false

  constructor(context: WaypointContext, fd: number, onEnded: (tunnel: Tunnel) => void) {
    this.#context = context
    this.#ip = peerAddress(fd)?.ip ?? ''
    this.#onEnded = onEnded
    context.reactor.descriptors.add(fd)
    const identity = context.identities.get(context.identity)
    if (identity === undefined) {
      context.reactor.closeLater(fd)
      this.#end({ code: 'CERT_UNAVAILABLE', detail: context.identity })
      return
    }
    const own = parseSpiffeId(context.identity)
    this.#socket = new TlsSocket(context.reactor, fd, {
      ...{ role: 'server', context: identity.context, credentials: identity.credentials },
      ...{ revoked: context.revoked, handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS, handler: this },
      peerCheck: (uris) => checkTrustDomain(isRefusal(own) ? null : own, uris),
    })
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** GOAWAY; requests under way are answered. */
  drain(): void {
    this.#isDraining = true
    this.#server?.drain()
    for (const connect of this.#connects) connect.drain()
  }

  /** Connections of callers that would be opened again if they ended. */
  get movable(): readonly Connect[] {
    return this.#connects.all().filter(({ isMovable }) => isMovable)
  }

  destroy(reason: CloseReason): void {
    if (this.#server !== null) this.#server.destroy(reason)
    else this.#socket?.destroy(reason)
  }

  onSecure(socket: TlsSocket, { uris }: PeerFacts): void {
    const id = firstSpiffeId(uris)
    if (id === null) {
      socket.destroy({ code: 'CERT_INVALID', detail: 'no SPIFFE id' }) // checkTrustDomain has refused it before
      return
    }
    this.#peer = { id, ip: this.#ip }
    const { resources } = this.#context
    this.#server = new TunnelServer({ transport: socket, resources, handler: this })
    if (this.#isDraining) this.#server.drain()
  }

  onHandshakeFailed(reason: CloseReason): void {
    this.#context.revoked.onHandshakeFailed(reason, 'destination')
    this.#end(reason)
  }

  onConnect(connect: InboundConnect): void {
    if (this.#peer === null) return
    const made = new Connect(this.#context, this.#peer, connect, (ended) => this.#connects.delete(ended))
    if (!made.isOver) this.#connects.add(made)
  }

  onMalformed(refusal: Refusal, authority: string): void {
    recordConnection(this.#context, authority, '', refusal)
  }

  onClosed(reason: CloseReason): void {
    this.#server = null
    this.#end(reason)
  }

  #end(reason: CloseReason): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#peer === null && reason.code !== 'OK')
      recordConnection(this.#context, '', '', reason, { ip: this.#ip })
    this.#context.share.released('tunnel')
    this.#onEnded(this)
  }
}
