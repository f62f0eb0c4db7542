// SPDX-License-Identifier: Apache-2.0
// One connection of a pod on its way out: destination → decision → tunnel stream or plain socket → relay → record.
//
//   resolving → connecting (to one endpoint after the other) → open → closed;   a refusal goes straight to closed
//                    ↑______ lost before a byte or an end ______|
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { Relay, type RelayOwner } from '../../mesh/reactor/relay.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { destinationText } from '../../mesh/telemetry/connection-record.ts'
import { isRecursive, type OutboundDecision } from '../decide/outbound-decision.ts'
import type { ConnectionReport } from '../worker-messages.ts'
import type { DestinationWaiter, KnownDestination } from './destinations.ts'
import type { Downstream } from './downstream.ts'
import type { GatewayTunnel } from './gateway-tunnel.ts'
import type { Sheddable } from './node-pressure.ts'
import { type AttemptsOwner, OutboundAttempts } from './outbound-attempts.ts'
import type { PayloadCapture } from './payload-capture.ts'
import type { PodConnection, ServedPod } from './served-pod.ts'
import { sheddableHalf } from './sheddable-half.ts'
import { NO_SLOT } from './stream-counts.ts'
import { ConnectionFacts } from './worker-context.ts'

/** Carries one outbound connection. Start it once. */
export class OutboundConnection implements DestinationWaiter, AttemptsOwner, RelayOwner, PodConnection {
  memberIndex = -1
  readonly #pod: ServedPod
  readonly #downstream: Downstream
  readonly #destination: SocketAddress
  readonly #facts: ConnectionFacts
  readonly #client: SocketAddress
  /** Until a byte has moved. */
  #attempts: OutboundAttempts | null = null
  #gateway: GatewayTunnel | null = null
  #relay: Relay | null = null
  #near: ByteStream | null = null
  #slot = NO_SLOT
  #isResolving = false
  #isClosed = false

  constructor(pod: ServedPod, downstream: Downstream, client: SocketAddress, destination: SocketAddress) {
    this.#pod = pod
    this.#downstream = downstream
    this.#client = client
    this.#destination = destination
    this.#facts = new ConnectionFacts('outbound', pod, pod.context.reactor.nowMs, client)
    this.#facts.destinationAddress = destination
    this.#facts.source = pod.source?.workload ?? null
    this.#facts.trace = pod.context.traces?.begin('') ?? null
    pod.onBegun(this)
  }

  start(): void {
    const { ip, port } = this.#destination
    const refusal = this.#pod.admitConnection()
    if (refusal !== null) {
      this.#fail(refusal)
      return
    }
    if (isRecursive(ip, port, this.#pod.context.isSocks5Enabled)) {
      this.#fail(refuse('LOOP', `to ${formatSocketAddress(ip, port)}`))
      return
    }
    const known = this.#pod.destinations.get(ip, port)
    if (known !== undefined) this.#begin(known)
    else {
      this.#isResolving = true
      this.#pod.destinations.request(ip, port, this)
    }
  }

  onDestination(destination: KnownDestination | Refusal): void {
    this.#isResolving = false
    if (this.#isClosed) return
    this.#facts.source = this.#pod.source?.workload ?? null
    if (isRefusal(destination)) this.#fail(destination)
    else this.#begin(destination)
  }

  #begin(destination: KnownDestination): void {
    this.#facts.service = destination.view.service
    this.#attempts = new OutboundAttempts(this.#pod, destination, this.#client, this)
    this.#attempts.start()
  }

  onAttempt(decision: OutboundDecision, isLocal: boolean): void {
    this.#facts.destination = decision.workload
    this.#facts.destinationAddress = isLocal ? null : decision.dial
    if (isLocal) this.#facts.transport = 'LOCAL'
    else this.#facts.transport = decision.kind === 'hbone' ? 'HBONE' : 'TCP'
    this.#facts.hboneAddress = decision.kind === 'hbone' ? decision.authority : ''
  }

  get traceparent(): string {
    return this.#facts.traceparent
  }

  onUpstream(upstream: ByteStream, gateway: GatewayTunnel | null, slot: number): void {
    this.#facts.retryCount = this.#attempts?.retryCount ?? 0
    this.#gateway = gateway
    if (this.#isClosed) {
      upstream.destroy({ code: 'SHUTDOWN', detail: '' })
      gateway?.close()
      this.#pod.context.streams.closed(slot)
      return
    }
    this.#slot = slot
    this.#facts.destination = gateway?.workload ?? this.#facts.destination
    if (this.#relay !== null) this.#relay.replaceServer(upstream)
    else {
      this.#near = this.#downstream.accept()
      this.#relay = new Relay(this.#near, upstream, this, this.#pod.context.halfClose)
    }
    this.#pod.context.opened(this.#facts)
    this.capture(this.#pod.capture)
  }

  capture(payload: PayloadCapture | null): void {
    const relay = this.#relay
    if (relay === null) return
    const isWhole = relay.bytesToServer + relay.bytesToClient === 0
    const server = this.#facts.hboneAddress || destinationText(this.#facts)
    relay.capture = payload?.open({ client: this.#facts.sourceText, server, isWhole }) ?? null
  }

  onRefused(refusal: Refusal): void {
    this.#facts.retryCount = this.#attempts?.retryCount ?? 0
    if (this.#near !== null) this.#near.destroy(refusal)
    else this.#fail(refusal)
  }

  onServerLost(reason: CloseReason): boolean {
    const { context } = this.#pod
    const prepare = (): void => {
      this.#gateway?.close()
      this.#gateway = null
      context.streams.closed(this.#slot)
      this.#slot = NO_SLOT
      context.lost(this.#facts, reason)
    }
    return this.#attempts?.again(reason, prepare) ?? false
  }

  onFirstByte(from: 'client' | 'server'): void {
    this.#attempts = null
    this.#pod.context.firstByte(this.#facts, from)
  }

  onRelayClosed(reason: CloseReason): void {
    this.#finish(reason)
  }

  #fail(refusal: Refusal): void {
    if (this.#isClosed) return
    this.#downstream.refuse(refusal)
    this.#finish(refusal)
  }

  #finish(reason: CloseReason): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#attempts?.cancel()
    this.#gateway?.close()
    this.#pod.onEnded(this)
    const { context } = this.#pod
    context.share.released('stream')
    context.streams.closed(this.#slot)
    context.closed(this.#facts, reason, this.#relay?.bytesToServer ?? 0, this.#relay?.bytesToClient ?? 0)
  }

  abort(reason: CloseReason): void {
    if (this.#near !== null) {
      this.#near.destroy(reason)
      return
    }
    if (this.#isResolving) this.#pod.destinations.forget(this.#destination.ip, this.#destination.port, this)
    this.#fail(refuse(reason.code, reason.detail))
  }

  report(): Omit<ConnectionReport, 'worker' | 'uid'> {
    return {
      direction: 'outbound',
      source: this.#facts.sourceText,
      destination: formatSocketAddress(this.#destination.ip, this.#destination.port),
      protocol: this.#facts.transport,
      peer: destinationText(this.#facts),
      bytesSent: this.#relay?.bytesToServer ?? 0,
      bytesReceived: this.#relay?.bytesToClient ?? 0,
      ageMs: Math.round(this.#pod.context.reactor.nowMs - this.#facts.startedMs),
    }
  }

  get sheddable(): Sheddable | null {
    return sheddableHalf(this, this.#relay)
  }

  /** Policies are the destination's business. */
  recheck(): void {}
  drain(): void {}
}
