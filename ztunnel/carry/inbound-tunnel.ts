// SPDX-License-Identifier: Apache-2.0
// One mTLS connection of a peer to a pod of ours: handshake with the pod's certificate, then its CONNECT streams, each
// decided by itself. SPEC wire-protocols §3.1 (who may connect), §4.2 (which streams are carried).
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { claimedWorkload } from '../../mesh/hbone/claimed-workload.ts'
import {
  type InboundConnect,
  TunnelServer,
  type TunnelServerHandler,
} from '../../mesh/hbone/tunnel-server.ts'
import { checkTrustDomain, firstSpiffeId } from '../../mesh/identity/peer-identity.ts'
import { parseSpiffeId, type SpiffeId } from '../../mesh/identity/spiffe.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import type { ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import type { PeerFacts } from '../../mesh/reactor/tls-handshake.ts'
import type { TlsHandler } from '../../mesh/reactor/tls-options.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import { TLS_HANDSHAKE } from '../../mesh/telemetry/latencies.ts'
import type { CallerWaiter } from './callers.ts'
import { carryInbound } from './carry-inbound.ts'
import type { Downstream } from './downstream.ts'
import type { InboundConnection } from './inbound-connection.ts'
import { CERTIFICATE_CHECK_MS, CERTIFICATE_DEADLINE_MS, HANDSHAKE_TIMEOUT_MS } from './limits.ts'
import type { Sheddable } from './node-pressure.ts'
import type { PodConnection, ServedPod } from './served-pod.ts'
import { ConnectionFacts } from './worker-context.ts'

/** Connections per tunnel that wait for the name of their caller; main answers within a millisecond. */
const MAX_UNNAMED = 100

/** A CONNECT as the near side of a connection. */
class StreamDownstream implements Downstream, ByteStreamHandler {
  readonly #connect: InboundConnect
  readonly #baggage: string
  connection: InboundConnection | null = null
  hasEnded = false

  constructor(connect: InboundConnect, baggage: string) {
    this.#connect = connect
    this.#baggage = baggage
    connect.stream.setHandler(this)
    connect.stream.pause() // SPEC wire-protocols §3.4: bytes are taken once the application is connected
  }

  accept(): ByteStream {
    this.#connect.accept(this.#baggage)
    this.#connect.stream.resume()
    return this.#connect.stream
  }

  refuse(refusal: Refusal): void {
    this.#connect.refuse(refusal)
  }

  onData(): void {} // paused
  onEnd(): void {
    this.hasEnded = true
  }
  onDrain(): void {}
  /** The client gave up before the application was connected. */
  onClose(reason: CloseReason): void {
    this.connection?.abort(reason.code === 'OK' ? { code: 'STREAM_RESET', detail: 'given up' } : reason)
  }
}

/** One inbound tunnel. Start it by constructing it. */
export class InboundTunnel implements TlsHandler, TunnelServerHandler, PodConnection, CallerWaiter {
  memberIndex = -1
  readonly #pod: ServedPod
  readonly #client: SocketAddress
  readonly #localIp: string
  readonly #startedMs: number
  /** Accepted, and nobody's yet: the pod has no certificate. */
  #fd: number
  #wait: Timer | null = null
  #socket: TlsSocket | null = null
  #server: TunnelServer | null = null
  #identity: SpiffeId | null = null
  #identityText = ''
  #baggage = ''
  #source: WorkloadFacts | null = null
  /** Connections of a nameless peer that wait for its name. */
  #unnamed: ConnectionFacts[] = []

  constructor(pod: ServedPod, fd: number, client: SocketAddress, localIp: string) {
    this.#pod = pod
    this.#client = client
    this.#localIp = localIp
    const { context } = pod
    this.#startedMs = context.reactor.nowMs
    pod.onBegun(this)
    context.reactor.descriptors.add(fd)
    this.#fd = fd
    const refusal = pod.admitHandshake()
    if (refusal === null) this.#shakeHands()
    else this.#turnAway(refusal)
  }

  /** A pod that has just started is known to others before its node has a certificate for it: who comes waits a while. */
  #shakeHands(): void {
    this.#wait = null
    const pod = this.#pod
    const { reactor, identities, revoked, grace } = pod.context
    const identity = identities.get(pod.identity)
    if (identity === undefined) {
      if (reactor.nowMs - this.#startedMs < CERTIFICATE_DEADLINE_MS)
        this.#wait = reactor.startTimer(CERTIFICATE_CHECK_MS, () => this.#shakeHands())
      else
        this.#turnAway(refuse(pod.inbound === null ? 'WORKLOAD_UNKNOWN' : 'CERT_UNAVAILABLE', pod.info.name))
      return
    }
    const fd = this.#fd
    this.#fd = -1
    const own = parseSpiffeId(pod.identity)
    this.#socket = new TlsSocket(reactor, fd, {
      role: 'server',
      context: identity.context,
      credentials: identity.credentials,
      peerCheck: (uris) => checkTrustDomain(isRefusal(own) ? null : own, uris),
      revoked,
      grace,
      handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      handler: this,
      share: pod.share,
    })
  }

  onSecure(socket: TlsSocket, peer: PeerFacts): void {
    const tookMs = performance.now() - this.#startedMs
    this.#pod.context.latencies.observe(TLS_HANDSHAKE, false, true, tookMs)
    this.#identity = firstSpiffeId(peer.uris)
    this.#identityText = peer.uris[0] ?? ''
    this.#server = new TunnelServer({
      transport: socket,
      resources: this.#pod.context.resources,
      handler: this,
      budget: this.#pod.budget,
    })
    if (this.#pod.isDraining) this.#server.drain()
  }

  onHandshakeFailed(reason: CloseReason): void {
    this.#pod.context.revoked.onHandshakeFailed(reason, 'destination')
    this.#end(reason)
  }

  onConnect(connect: InboundConnect): void {
    const facts = this.#facts(connect.authority)
    facts.source = this.#sourceOf(connect.baggage, facts)
    facts.trace = this.#pod.context.traces?.begin(connect.traceparent) ?? null
    const downstream = new StreamDownstream(connect, this.#pod.baggage)
    const { host, port } = connect.target
    const arrival = {
      ...{ host, port, localIp: this.#localIp, client: this.#client, downstream, facts },
      ...{ identity: this.#identity, identityText: this.#identityText },
      isDiverted: connect.divertedFor !== '',
    }
    downstream.connection = carryInbound(this.#pod, arrival)
  }

  onMalformed(refusal: Refusal, authority: string): void {
    this.#pod.context.closed(this.#facts(authority), refusal, 0, 0)
  }

  onClosed(reason: CloseReason): void {
    this.#server = null
    this.#end(reason)
  }

  /** Before there was a handshake. */
  #turnAway(reason: CloseReason): void {
    this.#wait?.cancel()
    this.#pod.context.reactor.closeLater(this.#fd)
    this.#fd = -1
    this.#end(reason)
  }

  abort(reason: CloseReason): void {
    if (this.#fd >= 0) this.#turnAway(reason)
    else if (this.#server !== null) this.#server.destroy(reason)
    else this.#socket?.destroy(reason)
  }

  /**
   * No connection of its own, but waited for in a drain: while it shakes hands its peer's connections wait for it, and when it
   * drains its peer may have sent a CONNECT before it saw the GOAWAY.
   */
  report(): null {
    return null
  }
  recheck(): void {}

  get sheddable(): Sheddable | null {
    const server = this.#server
    if (server === null || server.isDraining || server.openStreamCount > 0) return null
    const stalledMs = this.#pod.context.reactor.nowMs - server.idleSinceMs
    return { kind: 'idle-tunnel', stalledMs, end: () => server.drain() }
  }

  drain(): void {
    this.#server?.drain()
  }

  #facts(authority: string): ConnectionFacts {
    const { context, inbound } = this.#pod
    const facts = new ConnectionFacts('inbound', this.#pod, context.reactor.nowMs, this.#client)
    facts.transport = 'HBONE'
    facts.sourceIdentity = this.#identityText
    facts.hboneAddress = authority
    facts.destination = inbound?.workload ?? null
    return facts
  }

  /**
   * The calling workload, for telemetry: its identity is proven, its name is what it says of itself. One that says
   * nothing is looked up by its address; `facts` gets the answer when it comes later.
   */
  #sourceOf(text: string, facts: ConnectionFacts): WorkloadFacts | null {
    const claimed = this.#claimOf(text)
    if (claimed === null || claimed.name !== '') return claimed
    const { callers } = this.#pod.context
    const known = callers.get(this.#client.ip)
    if (known === undefined) {
      if (this.#unnamed.length < MAX_UNNAMED && callers.request(this.#client.ip, this))
        this.#unnamed.push(facts)
      return claimed
    }
    return this.#isProven(known) ? known : claimed
  }

  onCaller(workload: WorkloadFacts | null): void {
    if (this.#isProven(workload)) for (const facts of this.#unnamed) facts.source = workload
    this.#unnamed = []
  }

  /** An address can be had by anybody: only the workload that has the proven identity too is the caller. */
  #isProven(workload: WorkloadFacts | null): workload is WorkloadFacts {
    return workload !== null && workload.identity === this.#identityText
  }

  /** What the peer says of itself: one object as long as it says the same, so that texts of it are made once. */
  #claimOf(text: string): WorkloadFacts | null {
    if (this.#identity === null) return null
    if (this.#source !== null && this.#baggage === text) return this.#source
    this.#baggage = text
    this.#source = claimedWorkload(this.#identity, text)
    return this.#source
  }

  /** A tunnel that never carried a stream because of its handshake leaves a record of its own. */
  #end(reason: CloseReason): void {
    const { context } = this.#pod
    if (!this.#pod.onEnded(this)) return
    context.share.released('tunnel')
    if (this.#identityText !== '' || reason.code === 'OK') return
    const facts = new ConnectionFacts('inbound', this.#pod, this.#startedMs, this.#client)
    facts.transport = 'HBONE'
    facts.destinationAddress = { ip: this.#localIp, port: HBONE_PORT }
    facts.destination = this.#pod.inbound?.workload ?? null
    context.closed(facts, reason, 0, 0)
  }
}
