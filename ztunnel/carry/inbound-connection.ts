// SPDX-License-Identifier: Apache-2.0
// One connection of somebody to an application of ours, out of a tunnel or in plaintext: already decided, now the
// application is dialled with the client's address, or a waypoint that is before it; then it is accepted, relayed and
// recorded. The near side hears 200 only when the application, or the waypoint, is connected.
import type { AuthzConnection } from '../../mesh/authz/connection.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Relay, type RelayOwner } from '../../mesh/reactor/relay.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  type ConnectHandler,
  openSocket,
  type PendingConnect,
  startConnect,
} from '../../mesh/reactor/tcp-connect.ts'
import {
  type Arrival,
  type Detour,
  detourRefusal,
  type Entrance,
  recheckEntrance,
} from '../decide/entrance.ts'
import type { OutboundDecision } from '../decide/outbound-decision.ts'
import type { ConnectionReport } from '../worker-messages.ts'
import { type Downstream, noHandler } from './downstream.ts'
import type { GatewayTunnel } from './gateway-tunnel.ts'
import { CONNECT_TIMEOUT_MS, WAYPOINT_GRACE_MS } from './limits.ts'
import type { Sheddable } from './node-pressure.ts'
import { type AttemptsOwner, OutboundAttempts } from './outbound-attempts.ts'
import type { PayloadCapture } from './payload-capture.ts'
import { refusalOf } from './pod-dialer.ts'
import type { PodConnection, ServedPod } from './served-pod.ts'
import { sheddableHalf } from './sheddable-half.ts'
import { NO_SLOT } from './stream-counts.ts'
import type { ConnectionFacts } from './worker-context.ts'

/** An allowed connection. */
export interface AllowedInbound {
  /** The application. */
  readonly dial: SocketAddress
  /** What policies saw; evaluated again when they change. */
  readonly authz: AuthzConnection
  readonly entrance: Entrance
  /** What the entrance was decided for. */
  readonly arrival: Arrival
  readonly client: SocketAddress
  /** What the application is told before the client's first byte (PROXY protocol); null: nothing. */
  readonly proxyHeader: Uint8Array | null
}

/** Carries one inbound connection. Start it once. */
export class InboundConnection implements ConnectHandler, AttemptsOwner, RelayOwner, PodConnection {
  memberIndex = -1
  readonly #pod: ServedPod
  readonly #downstream: Downstream
  readonly #allowed: AllowedInbound
  readonly #facts: ConnectionFacts
  readonly #onClosed: () => void
  #connect: Pick<PendingConnect, 'cancel'> | null = null
  /** When the waypoint is in another network. */
  #gateway: GatewayTunnel | null = null
  #near: ByteStream | null = null
  #relay: Relay | null = null
  /** When it goes to a waypoint. */
  #slot = NO_SLOT
  /** Why a new one would go another way, and when this one ends. */
  #grace: { reason: Refusal; readonly timer: Timer } | null = null
  #isClosed = false

  constructor(
    pod: ServedPod,
    downstream: Downstream,
    allowed: AllowedInbound,
    facts: ConnectionFacts,
    onClosed: () => void,
  ) {
    this.#pod = pod
    this.#downstream = downstream
    this.#allowed = allowed
    this.#facts = facts
    this.#onClosed = onClosed
    pod.onBegun(this)
  }

  start(): void {
    const refusal = this.#pod.admitConnection()
    if (refusal !== null) this.#fail(refusal)
    else if (this.#allowed.entrance.kind === 'detour') this.#divert(this.#allowed.entrance)
    else this.#dial()
  }

  /** To a waypoint, as the pod would go there. */
  #divert({ view, divertedFor }: Detour): void {
    const { destinations } = this.#pod
    const attempts = new OutboundAttempts(
      this.#pod,
      destinations.known(view),
      this.#allowed.client,
      this,
      divertedFor,
    )
    this.#connect = attempts
    attempts.start()
  }

  get traceparent(): string {
    return this.#facts.traceparent
  }

  onAttempt({ workload }: OutboundDecision): void {
    this.#facts.via = workload === null ? '' : `${workload.namespace}/${workload.name}`
  }

  onUpstream(waypoint: ByteStream, gateway: GatewayTunnel | null, slot: number): void {
    this.#slot = slot
    this.#gateway = gateway
    this.#open(waypoint)
  }

  onRefused(refusal: Refusal): void {
    this.#fail(detourRefusal(refusal, this.#facts.via))
  }

  #dial(): void {
    const { dial, client, proxyHeader } = this.#allowed
    const { ip: sourceIp } = client
    const { dialer, canShowSource, context } = this.#pod
    // A source equal to the destination would connect the application to itself. SPEC HBONE §3.7: from loopback to loopback.
    const isShown = canShowSource && sourceIp !== dial.ip && proxyHeader === null
    const shownSource = isShown ? sourceIp : null
    try {
      const fd = dialer.open(dial.ip, shownSource, this.#facts.transport === 'TCP')
      this.#connect = startConnect(context.reactor, fd, dial.ip, dial.port, CONNECT_TIMEOUT_MS, this)
    } catch (error) {
      this.#fail(refusalOf(error))
    }
  }

  onConnected(fd: number): void {
    const application = openSocket(this.#pod.context.reactor, fd, noHandler, this.#pod.share)
    this.#introduce(application)
    this.#open(application)
  }

  #open(far: ByteStream): void {
    this.#connect = null
    const { context } = this.#pod
    this.#near = this.#downstream.accept()
    this.#relay = new Relay(this.#near, far, this, context.halfClose)
    if (this.#downstream.hasEnded) {
      far.end()
      this.#relay.onHalfClosed()
    }
    context.opened(this.#facts)
    this.capture(this.#pod.capture)
  }

  capture(payload: PayloadCapture | null): void {
    const relay = this.#relay
    if (relay === null) return
    const isWhole = relay.bytesToServer + relay.bytesToClient === 0
    const { ip, port } = this.#allowed.dial
    const ends = { client: this.#facts.sourceText, server: formatSocketAddress(ip, port), isWhole }
    relay.capture = payload?.open(ends) ?? null
  }

  #introduce(application: ByteStream): void {
    const { proxyHeader } = this.#allowed
    if (proxyHeader === null) return
    const block = allocateBlock(proxyHeader.length)
    block.bytes.set(proxyHeader)
    application.write(block, 0, proxyHeader.length)
  }

  onConnectFailed(reason: CloseReason): void {
    this.#fail(refuse(reason.code, reason.detail))
  }

  onFirstByte(from: 'client' | 'server'): void {
    this.#pod.context.firstByte(this.#facts, from)
  }

  onRelayClosed(reason: CloseReason): void {
    this.#finish(reason)
  }

  abort(reason: CloseReason): void {
    if (this.#near !== null) this.#near.destroy(reason)
    else {
      this.#connect?.cancel()
      this.#fail(refuse(reason.code, reason.detail))
    }
  }

  recheck(): void {
    const { authz, arrival, entrance } = this.#allowed
    const { allowed, policy, detail } = this.#pod.policies.evaluate(authz)
    if (!allowed) {
      this.#facts.policy = policy ?? ''
      this.abort({ code: 'POLICY_CHANGED', detail })
      return
    }
    const reason = recheckEntrance(this.#pod.inbound?.guard ?? null, arrival, entrance)
    if (reason === null) this.#endGrace()
    else if (this.#grace !== null) this.#grace.reason = reason
    else {
      const { reactor } = this.#pod.context
      const timer = reactor.startTimer(WAYPOINT_GRACE_MS, () => this.abort(this.#grace?.reason ?? reason))
      this.#grace = { reason, timer }
    }
  }

  #endGrace(): void {
    this.#grace?.timer.cancel()
    this.#grace = null
  }

  drain(): void {}

  get sheddable(): Sheddable | null {
    return sheddableHalf(this, this.#relay)
  }

  report(): Omit<ConnectionReport, 'worker' | 'uid'> {
    const { context } = this.#pod
    const { ip, port } = this.#allowed.dial
    return {
      direction: 'inbound',
      source: this.#facts.sourceText,
      destination: formatSocketAddress(ip, port),
      protocol: this.#facts.transport,
      peer: this.#facts.sourceIdentity,
      bytesSent: this.#relay?.bytesToClient ?? 0,
      bytesReceived: this.#relay?.bytesToServer ?? 0,
      ageMs: Math.round(context.reactor.nowMs - this.#facts.startedMs),
    }
  }

  #fail(refusal: Refusal): void {
    if (this.#isClosed) return
    this.#downstream.refuse(refusal)
    this.#finish(refusal)
  }

  #finish(reason: CloseReason): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#endGrace()
    this.#gateway?.close()
    this.#pod.onEnded(this)
    this.#pod.context.streams.closed(this.#slot)
    this.#pod.context.closed(
      this.#facts,
      reason,
      this.#relay?.bytesToServer ?? 0,
      this.#relay?.bytesToClient ?? 0,
    )
    this.#onClosed()
  }
}
