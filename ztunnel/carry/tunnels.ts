// SPDX-License-Identifier: Apache-2.0
// The tunnels of one pod in one worker: which one a decision needs, and how a missing one is dialled: a socket in the
// pod's namespace, TCP, mTLS with the pod's certificate, the peer's identity checked against the decision.
// SPEC wire-protocols §3.5: the key is the peer's address and the identities it may have.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Cancellable, ConnectHandler, ConnectRequest } from '../../mesh/hbone/connect-attempt.ts'
import { formatForwarded } from '../../mesh/hbone/forwarded.ts'
import { TunnelPool } from '../../mesh/hbone/tunnel-pool.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  type PendingConnect,
  startConnect,
  type ConnectHandler as TcpHandler,
} from '../../mesh/reactor/tcp-connect.ts'
import type { PeerCheck } from '../../mesh/reactor/tls-context.ts'
import type { PeerFacts } from '../../mesh/reactor/tls-handshake.ts'
import type { TlsHandler } from '../../mesh/reactor/tls-options.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import { TLS_HANDSHAKE } from '../../mesh/telemetry/latencies.ts'
import type { TunnelDecision } from '../decide/outbound-decision.ts'
import {
  CERTIFICATE_CHECK_MS,
  CERTIFICATE_DEADLINE_MS,
  CONNECT_TIMEOUT_MS,
  HANDSHAKE_TIMEOUT_MS,
} from './limits.ts'
import { refusalOf } from './pod-dialer.ts'
import type { ServedPod } from './served-pod.ts'

/** Separates the parts of a key; occurs in no address and no SPIFFE id. */
const SEPARATOR = '|'

/** What a failed connect means when it was to a tunnel port: nothing of it is the application's fault. */
const DIAL_REASONS: Readonly<Partial<Record<ReasonCode, ReasonCode>>> = {
  // SPEC wire-protocols §3.5: silence on 15008 is most likely a NetworkPolicy.
  CONNECT_TIMEOUT: 'HBONE_PORT_BLOCKED',
  ENDPOINT_REFUSED: 'HBONE_PORT_REFUSED',
}

function keyOf({ dial, expectedIdentities }: TunnelDecision): string {
  return [dial.ip, dial.port, ...expectedIdentities].join(SEPARATOR)
}

/** SPEC wire-protocols §3.1: at least one SPIFFE URI must equal one of the expected identities. */
export function checkIdentity(expected: readonly string[], uris: readonly string[]): Refusal | null {
  if (uris.some((uri) => expected.includes(uri))) return null
  return refuse('IDENTITY_MISMATCH', `expected ${expected.join(' or ')}, found ${uris.join(' ') || 'none'}`)
}

/** One tunnel being opened: waiting for a certificate → TCP → TLS. */
class TunnelDial implements TcpHandler, TlsHandler, Cancellable {
  readonly #pod: ServedPod
  readonly #target: SocketAddress
  readonly #peerCheck: PeerCheck
  readonly #deadlineMs: number
  #callback: ((result: ByteStream | Refusal) => void) | null
  #connect: PendingConnect | null = null
  #socket: TlsSocket | null = null
  #connectedMs = 0

  constructor(pod: ServedPod, key: string, callback: (result: ByteStream | Refusal) => void) {
    const [ip = '', port = '', ...expected] = key.split(SEPARATOR)
    this.#pod = pod
    this.#target = { ip, port: Number(port) }
    this.#peerCheck = (uris) => checkIdentity(expected, uris)
    this.#callback = callback
    this.#deadlineMs = pod.context.reactor.nowMs + CERTIFICATE_DEADLINE_MS
    pod.context.reactor.inNextTurn(() => this.#start())
  }

  #start(): void {
    const { reactor, identities } = this.#pod.context
    if (this.#callback === null) return
    if (identities.get(this.#pod.identity) === undefined) {
      if (reactor.nowMs > this.#deadlineMs) this.#finish(refuse('CERT_UNAVAILABLE', this.#pod.identity))
      else reactor.startTimer(CERTIFICATE_CHECK_MS, () => this.#start())
      return
    }
    const { ip, port } = this.#target
    try {
      const fd = this.#pod.dialer.open(ip, null)
      this.#connect = startConnect(reactor, fd, ip, port, CONNECT_TIMEOUT_MS, this)
    } catch (error) {
      this.#finish(refusalOf(error))
    }
  }

  onConnected(fd: number): void {
    const { reactor, identities } = this.#pod.context
    this.#connect = null
    this.#connectedMs = performance.now()
    const identity = identities.get(this.#pod.identity)
    if (identity === undefined) {
      reactor.closeLater(fd)
      this.#finish(refuse('CERT_UNAVAILABLE', this.#pod.identity))
      return
    }
    this.#socket = new TlsSocket(reactor, fd, {
      role: 'client',
      context: identity.context,
      credentials: identity.credentials,
      peerCheck: this.#peerCheck,
      revoked: this.#pod.context.revoked,
      grace: this.#pod.context.grace,
      handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      handler: this,
      isWatched: true,
      share: this.#pod.share,
    })
  }

  onConnectFailed(reason: CloseReason): void {
    this.#finish(refuse(DIAL_REASONS[reason.code] ?? reason.code, reason.detail))
  }

  onSecure(socket: TlsSocket, _peer: PeerFacts): void {
    this.#socket = null
    const tookMs = performance.now() - this.#connectedMs
    this.#pod.context.latencies.observe(TLS_HANDSHAKE, true, true, tookMs)
    this.#finish(socket)
  }

  onHandshakeFailed(reason: CloseReason): void {
    this.#socket = null
    this.#pod.context.revoked.onHandshakeFailed(reason, 'source')
    this.#finish(refuse(reason.code, `${this.#target.ip}: ${reason.detail}`))
  }

  cancel(): void {
    this.#callback = null
    this.#connect?.cancel()
    this.#socket?.destroy({ code: 'SHUTDOWN', detail: 'not wanted any more' })
  }

  #finish(result: ByteStream | Refusal): void {
    const callback = this.#callback
    this.#callback = null
    callback?.(result)
  }
}

/** The tunnels of one pod. */
export class Tunnels {
  readonly #pod: ServedPod
  #pool: TunnelPool
  /** Pools that drain: the pod left the mesh, and came back. */
  readonly #former: TunnelPool[] = []

  constructor(pod: ServedPod) {
    this.#pod = pod
    this.#pool = this.#createPool()
  }

  #createPool(): TunnelPool {
    const pod = this.#pod
    return new TunnelPool({
      resources: pod.context.resources,
      budget: pod.budget,
      dial: (key, callback) => new TunnelDial(pod, key, callback),
    })
  }

  /**
   * What the CONNECT of a connection says. `divertedFor`: of one that is diverted to a waypoint, the value of its header; else
   * ''.
   */
  requestOf(
    { authority, service }: TunnelDecision,
    client: SocketAddress,
    traceparent: string,
    divertedFor = '',
  ): ConnectRequest {
    return {
      authority,
      baggage: this.#pod.baggage,
      forwarded: formatForwarded(client.ip, client.port, service?.hostname ?? null),
      traceparent,
      divertedFor,
    }
  }

  /** Asks for a stream to the decision's next hop; the outcome comes later, once. */
  open(decision: TunnelDecision, request: ConnectRequest, handler: ConnectHandler): Cancellable {
    return this.#pool.connect(keyOf(decision), request, handler)
  }

  /** Tunnels that carry nothing now. */
  idle(): ReturnType<TunnelPool['idleTunnels']> {
    return this.#pool.idleTunnels()
  }

  drain(): void {
    this.#pool.drain()
  }

  /** After drain(): streams are opened again, on new tunnels. */
  resume(): void {
    const isInUse = this.#pool.statistics.tunnels > 0
    if (isInUse) this.#former.push(this.#pool)
    this.#pool = this.#createPool()
  }

  close(): void {
    for (const pool of [...this.#former, this.#pool]) pool.closeAll({ code: 'SHUTDOWN', detail: '' })
  }
}
