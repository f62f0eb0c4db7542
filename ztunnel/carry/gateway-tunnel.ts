// SPDX-License-Identifier: Apache-2.0
// One connection through the gateway of another network (double HBONE): a stream of the pooled tunnel to the gateway, in it
// TLS with whoever the gateway has chosen, in that a tunnel of one stream. The gateway sees where the connection goes and
// ciphertext. SPEC wire-protocols §3.6.
//
//   outer CONNECT → inner TLS → inner CONNECT → through;   a refusal of any of them is the only outcome
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { claimedWorkload } from '../../mesh/hbone/claimed-workload.ts'
import type { Cancellable, ConnectHandler, ConnectRequest } from '../../mesh/hbone/connect-attempt.ts'
import { TunnelClient, type TunnelHandler } from '../../mesh/hbone/tunnel-client.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import type { InnerTunnel } from '../../mesh/model/destination.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { Relay, type RelayOwner } from '../../mesh/reactor/relay.ts'
import { createStreamPair } from '../../mesh/reactor/stream-pair.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import type { PeerFacts } from '../../mesh/reactor/tls-handshake.ts'
import type { TlsHandler } from '../../mesh/reactor/tls-options.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import type { TunnelDecision } from '../decide/outbound-decision.ts'
import { noHandler } from './downstream.ts'
import { HANDSHAKE_TIMEOUT_MS } from './limits.ts'
import { refusalOf } from './pod-dialer.ts'
import type { ServedPod } from './served-pod.ts'
import { checkIdentity } from './tunnels.ts'

/** Hears one of the two, once, unless it cancelled. */
export interface GatewayOwner {
  /** Set the stream's handler before returning, and call `tunnel.close()` once the stream has closed. */
  onThrough(stream: ByteStream, tunnel: GatewayTunnel): void
  onRefused(refusal: Refusal): void
}

const NOT_WANTED: CloseReason = { code: 'STREAM_RESET', detail: 'not wanted' }

/** Made for one connection. Starts when it is made. */
export class GatewayTunnel implements Cancellable, ConnectHandler, TlsHandler, TunnelHandler, RelayOwner {
  readonly #pod: ServedPod
  readonly #inner: InnerTunnel
  readonly #gateway: string
  readonly #request: ConnectRequest
  /** Null once the outcome was reported or is not wanted. */
  #owner: GatewayOwner | null
  #connect: Cancellable | null
  /** Our end of the outer stream; the other one is the socket. */
  #near: TcpSocket | null = null
  #socket: TlsSocket | null = null
  #tunnel: TunnelClient | null = null
  #identity = ''
  #workload: WorkloadFacts | null = null

  /** `request`: what the inner CONNECT says. */
  constructor(
    pod: ServedPod,
    decision: TunnelDecision,
    inner: InnerTunnel,
    request: ConnectRequest,
    owner: GatewayOwner,
  ) {
    this.#pod = pod
    this.#inner = inner
    this.#gateway = decision.dial.ip
    this.#owner = owner
    this.#request = request
    // Whom a connection was diverted for is said to the waypoint, which is behind the gateway.
    const { divertedFor: _divertedFor, ...outer } = request
    this.#connect = pod.tunnels.open(decision, outer, {
      onConnected: (stream) => this.#onOuter(stream),
      onRefused: (refusal) => this.#fail(refuse(refusal.code, `gateway ${this.#gateway}: ${refusal.detail}`)),
    })
  }

  /** Who answered behind the gateway: its identity is proven, the rest is what it says; null before that. */
  get workload(): WorkloadFacts | null {
    return this.#workload
  }

  #onOuter(outer: ByteStream): void {
    this.#connect = null
    const { context, identity, share } = this.#pod
    const own = context.identities.get(identity)
    if (own === undefined) {
      outer.destroy(NOT_WANTED)
      this.#fail(refuse('CERT_UNAVAILABLE', identity))
      return
    }
    let pair: readonly [number, number]
    try {
      pair = createStreamPair()
    } catch (error) {
      outer.destroy(NOT_WANTED)
      this.#fail(refusalOf(error))
      return
    }
    const [near, far] = pair
    this.#near = new TcpSocket(context.reactor, near, noHandler, false, share)
    // Neither half of the outer stream ends before the inner tunnel does: what is left alone then is given its time.
    new Relay(this.#near, outer, this, context.halfClose)
    this.#socket = new TlsSocket(context.reactor, far, {
      role: 'client',
      context: own.context,
      credentials: own.credentials,
      peerCheck: (uris) => checkIdentity(this.#inner.expectedIdentities, uris),
      revoked: context.revoked,
      grace: context.grace,
      handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      handler: this,
      share,
    })
  }

  onSecure(socket: TlsSocket, peer: PeerFacts): void {
    this.#socket = null
    this.#identity = peer.uris.find((uri) => this.#inner.expectedIdentities.includes(uri)) ?? ''
    const { context, budget } = this.#pod
    // SPEC wire-protocols §3.6: never pooled, or all connections would go to the endpoint the gateway chose first.
    const tunnel = new TunnelClient({
      transport: socket,
      resources: context.resources,
      handler: this,
      budget,
      maxStreams: 1,
    })
    this.#tunnel = tunnel
    const request = { ...this.#request, forwardedNetwork: this.#inner.forwardedNetwork }
    const connect = tunnel.openConnect(request, this)
    if (isRefusal(connect)) this.onRefused(connect)
    else this.#connect = connect
  }

  onHandshakeFailed(reason: CloseReason): void {
    this.#socket = null
    this.#pod.context.revoked.onHandshakeFailed(reason, 'source')
    this.onRefused(refuse(reason.code, reason.detail))
  }

  onConnected(stream: ByteStream, baggage: string): void {
    this.#connect = null
    const id = parseSpiffeId(this.#identity)
    if (!isRefusal(id)) this.#workload = claimedWorkload(id, baggage)
    const owner = this.#owner
    this.#owner = null
    owner?.onThrough(stream, this)
  }

  /** Of the inner TLS or CONNECT. */
  onRefused(refusal: Refusal): void {
    this.#connect = null
    this.#fail(refuse(refusal.code, `behind gateway ${this.#gateway}: ${refusal.detail}`))
  }

  onReady(): void {}
  onDraining(): void {}
  onClosed(): void {}
  onFirstByte(): void {}

  /** The outer stream is over. In what way is said here, before the inner tunnel sees no more than an end. */
  onRelayClosed(reason: CloseReason): void {
    if (reason.code === 'OK') return
    this.#socket?.destroy(reason)
    this.#tunnel?.destroy(reason)
  }

  cancel(): void {
    this.#owner = null
    this.#connect?.cancel()
    this.#connect = null
    this.#cut()
  }

  /** The stream that onThrough gave has closed: the tunnel has done its work. */
  close(): void {
    this.#tunnel?.drain()
  }

  #fail(refusal: Refusal): void {
    const owner = this.#owner
    this.#owner = null
    this.#cut()
    owner?.onRefused(refusal)
  }

  #cut(): void {
    this.#socket?.destroy(NOT_WANTED)
    this.#tunnel?.destroy(NOT_WANTED)
    this.#near?.destroy(NOT_WANTED)
  }
}
