// SPDX-License-Identifier: Apache-2.0
// The way to a destination that is known: picks an endpoint, opens a tunnel stream or a socket to it, and picks another one
// when that fails before a byte was sent. Exactly one outcome, unless cancelled; after a stream that was lost at once another.
import { endpointKey } from '../../mesh/balance/demotions.ts'
import { ATTEMPT_TIMEOUT_MS, MAX_ATTEMPTS, UNSERVED_MS } from '../../mesh/balance/limits.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { type ConnectHandler, openSocket, startConnect } from '../../mesh/reactor/tcp-connect.ts'
import {
  decideOutbound,
  type OutboundDecision,
  type PlainDecision,
  type TunnelDecision,
} from '../decide/outbound-decision.ts'
import { isOfTheEndpoint } from '../decide/retry-decision.ts'
import type { KnownDestination } from './destinations.ts'
import { noHandler } from './downstream.ts'
import { GatewayTunnel } from './gateway-tunnel.ts'
import { CONNECT_TIMEOUT_MS } from './limits.ts'
import { refusalOf } from './pod-dialer.ts'
import type { ServedPod } from './served-pod.ts'
import { NO_SLOT } from './stream-counts.ts'

/** Hears how it goes. */
export interface AttemptsOwner {
  /** What a tunnel stream is to say of its trace. */
  readonly traceparent: string
  /** The next attempt goes there; `isLocal`: inside this node, without a tunnel. */
  onAttempt(decision: OutboundDecision, isLocal: boolean): void
  /**
   * Set the stream's handler before returning, and close the gateway tunnel, if it is one's, after the stream; `slot` is given
   * to StreamCounts.closed then.
   */
  onUpstream(stream: ByteStream, gateway: GatewayTunnel | null, slot: number): void
  onRefused(refusal: Refusal): void
}

/** Made for one connection. Start it once. */
export class OutboundAttempts implements ConnectHandler, Cancellable {
  readonly #pod: ServedPod
  readonly #destination: KnownDestination
  readonly #client: SocketAddress
  readonly #owner: AttemptsOwner
  readonly #divertedFor: string
  /** Uids of endpoints that failed; null: none. */
  #tried: Set<string> | null = null
  #current: OutboundDecision | null = null
  #failure: Refusal | null = null
  #connect: Cancellable | null = null
  #timer: Timer | null = null
  /** Of the instance of a waypoint that is being asked. */
  #slot = NO_SLOT
  #upstreamMs = Number.NEGATIVE_INFINITY

  /** `divertedFor`: as Tunnels.requestOf has it. */
  constructor(
    pod: ServedPod,
    destination: KnownDestination,
    client: SocketAddress,
    owner: AttemptsOwner,
    divertedFor = '',
  ) {
    this.#divertedFor = divertedFor
    this.#pod = pod
    this.#destination = destination
    this.#client = client
    this.#owner = owner
  }

  /** Attempts that failed and were followed by another one. */
  get retryCount(): number {
    return this.#tried?.size ?? 0
  }

  start(): void {
    this.#pod.context.retryBudget.deposit()
    this.#next()
  }

  /**
   * The stream that onUpstream gave has failed, and no byte or end went either way: nobody can have acted on anything. False: it
   * stays so. True: `prepare` was called, and there is one more outcome.
   */
  again(reason: CloseReason, prepare: () => void): boolean {
    const { nowMs } = this.#pod.context.reactor
    const decision = this.#current
    if (decision === null || nowMs > this.#upstreamMs + UNSERVED_MS) return false
    const refusal = refuse(reason.code, reason.detail)
    if (!isOfAnEndpoint(decision, refusal) || !this.#mayGoOn(decision)) return false
    prepare()
    this.#goOn(decision, refusal)
    return true
  }

  cancel(): void {
    this.#timer?.cancel()
    this.#connect?.cancel()
    this.#connect = null
    this.#giveBack()
  }

  #giveBack(): void {
    this.#pod.context.streams.closed(this.#slot)
    this.#slot = NO_SLOT
  }

  #next(): void {
    const { view, picker } = this.#destination
    const decision = decideOutbound(this.#pod.source, view, picker, this.#tried)
    if (isRefusal(decision)) {
      // Of endpoints that all failed the last failure says more than that there is none left.
      this.#owner.onRefused(this.#failure === null ? decision : this.#afterRetries(this.#failure))
      return
    }
    this.#current = decision
    if (decision.kind === 'hbone' && decision.isWaypoint)
      this.#slot = this.#pod.context.streams.opened(decision.uid)
    const local = this.#pod.context.sameNode.targetOf(this.#pod, decision, this.#client)
    this.#owner.onAttempt(decision, local !== null)
    if (this.#isAnotherLeft(decision)) {
      const { reactor } = this.#pod.context
      this.#timer = reactor.startTimer(ATTEMPT_TIMEOUT_MS, () => {
        this.#connect?.cancel()
        this.#onFailure(refuse('CONNECT_TIMEOUT', `no answer within ${ATTEMPT_TIMEOUT_MS} ms`))
      })
    }
    if (decision.kind === 'plain') this.#dial(decision)
    else if (local === null) this.#openStream(decision)
    else this.#handOver(decision, local)
  }

  #openStream(decision: TunnelDecision): void {
    const { tunnels } = this.#pod
    const request = tunnels.requestOf(decision, this.#client, this.#owner.traceparent, this.#divertedFor)
    const onRefused = (refusal: Refusal): void => this.#onFailure(refusal)
    if (decision.inner === null) {
      this.#connect = tunnels.open(decision, request, {
        onConnected: (stream) => this.#onUpstream(stream),
        onRefused,
      })
      return
    }
    this.#connect = new GatewayTunnel(this.#pod, decision, decision.inner, request, {
      onThrough: (stream, gateway) => this.#onUpstream(stream, gateway),
      onRefused,
    })
  }

  #handOver(decision: TunnelDecision, target: ServedPod): void {
    const { sameNode } = this.#pod.context
    this.#connect = sameNode.connect(this.#pod, target, decision, this.#client, {
      traceparent: this.#owner.traceparent,
      onConnected: (stream) => this.#onUpstream(stream),
      onRefused: (refusal) => this.#onFailure(refusal),
    })
  }

  #dial({ dial }: PlainDecision): void {
    try {
      const { reactor } = this.#pod.context
      const fd = this.#pod.dialer.open(dial.ip, null)
      this.#connect = startConnect(reactor, fd, dial.ip, dial.port, CONNECT_TIMEOUT_MS, this)
    } catch (error) {
      this.#onFailure(refusalOf(error))
    }
  }

  onConnected(fd: number): void {
    this.#onUpstream(openSocket(this.#pod.context.reactor, fd, noHandler, this.#pod.share))
  }

  onConnectFailed(reason: CloseReason): void {
    this.#onFailure(refuse(reason.code, reason.detail))
  }

  #onUpstream(stream: ByteStream, gateway: GatewayTunnel | null = null): void {
    this.#timer?.cancel()
    this.#connect = null
    const { demotions, reactor } = this.#pod.context
    if (!demotions.known.isEmpty && this.#current !== null)
      demotions.onServed(keyOf(this.#current), reactor.nowMs)
    const slot = this.#slot
    this.#slot = NO_SLOT
    this.#upstreamMs = reactor.nowMs
    this.#owner.onUpstream(stream, gateway, slot)
  }

  #onFailure(refusal: Refusal): void {
    this.#timer?.cancel()
    this.#connect = null
    this.#giveBack()
    const decision = this.#current
    if (decision === null || !isOfAnEndpoint(decision, refusal)) this.#owner.onRefused(refusal)
    else if (this.#mayGoOn(decision)) this.#goOn(decision, refusal)
    else this.#owner.onRefused(this.#afterRetries(refusal))
  }

  /** Notes who has failed. True when another one may be asked: that is paid for. */
  #mayGoOn(decision: OutboundDecision): boolean {
    const { demotions, retryBudget, reactor } = this.#pod.context
    demotions.onFailed(keyOf(decision), reactor.nowMs)
    return this.#isAnotherLeft(decision) && retryBudget.withdraw(reactor.nowMs)
  }

  #goOn({ uid }: OutboundDecision, refusal: Refusal): void {
    this.#tried ??= new Set()
    this.#tried.add(uid)
    this.#failure = refusal
    this.#pod.context.retried(refusal.code)
    this.#next()
  }

  #isAnotherLeft({ uid }: OutboundDecision): boolean {
    if (uid === '' || this.retryCount + 1 >= MAX_ATTEMPTS) return false
    const { view } = this.#destination
    const candidates =
      view.waypoints.length > 0
        ? view.waypoints.reduce((count, waypoint) => count + waypoint.candidates.length, 0)
        : view.candidates.length
    return candidates > this.retryCount + 1
  }

  #afterRetries(refusal: Refusal): Refusal {
    const count = this.retryCount
    return count === 0 ? refusal : refuse(refusal.code, `${refusal.detail}; ${count + 1} endpoints failed`)
  }
}

function isOfAnEndpoint({ uid }: OutboundDecision, { code }: Refusal): boolean {
  return uid !== '' && isOfTheEndpoint(code)
}

/** What failed: a port of an endpoint. */
function keyOf(decision: OutboundDecision): string {
  return decision.kind === 'hbone'
    ? endpointKey(decision.uid, decision.authority)
    : endpointKey(decision.uid, String(decision.dial.port))
}
