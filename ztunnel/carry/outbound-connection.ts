// SPDX-License-Identifier: Apache-2.0
// One connection of a pod on its way out: destination → decision → tunnel stream or plain socket → relay → record.
//
//   resolving → connecting → open → closed;   any refusal goes straight to closed
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { Relay, type RelayOwner } from '../../mesh/reactor/relay.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  type ConnectHandler,
  openSocket,
  type PendingConnect,
  startConnect,
} from '../../mesh/reactor/tcp-connect.ts'
import {
  decideOutbound,
  isRecursive,
  type PlainDecision,
  type TunnelDecision,
} from '../decide/outbound-decision.ts'
import type { ConnectionReport } from '../worker-messages.ts'
import type { DestinationWaiter, KnownDestination } from './destinations.ts'
import { type Downstream, noHandler } from './downstream.ts'
import { CONNECT_TIMEOUT_MS } from './limits.ts'
import { refusalOf } from './pod-dialer.ts'
import type { PodConnection, ServedPod } from './served-pod.ts'
import { ConnectionFacts } from './worker-context.ts'

/** Carries one outbound connection. Start it once. */
export class OutboundConnection implements DestinationWaiter, ConnectHandler, RelayOwner, PodConnection {
  readonly isIdle = false
  readonly #pod: ServedPod
  readonly #downstream: Downstream
  readonly #destination: SocketAddress
  readonly #facts: ConnectionFacts
  readonly #client: SocketAddress
  #connect: PendingConnect | { cancel(): void } | null = null
  #relay: Relay | null = null
  #near: ByteStream | null = null
  #isResolving = false
  #isClosed = false

  constructor(pod: ServedPod, downstream: Downstream, client: SocketAddress, destination: SocketAddress) {
    this.#pod = pod
    this.#downstream = downstream
    this.#client = client
    this.#destination = destination
    this.#facts = new ConnectionFacts('outbound', pod.context.reactor.nowMs, `${client.ip}:${client.port}`)
    this.#facts.destinationAddress = `${destination.ip}:${destination.port}`
    this.#facts.source = pod.source?.workload ?? null
    pod.connections.add(this)
  }

  start(): void {
    const { ip, port } = this.#destination
    if (isRecursive(ip, port, this.#pod.context.isSocks5Enabled)) {
      this.#fail(refuse('LOOP', `to ${ip}:${port}`))
      return
    }
    const known = this.#pod.destinations.get(ip, port)
    if (known !== undefined) this.#decide(known)
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
    else this.#decide(destination)
  }

  #decide({ view, picker }: KnownDestination): void {
    const decision = decideOutbound(this.#pod.source, view, picker)
    this.#facts.service = view.service
    if (isRefusal(decision)) {
      this.#fail(decision)
      return
    }
    this.#facts.destination = decision.workload
    this.#facts.destinationAddress = `${decision.dial.ip}:${decision.dial.port}`
    if (decision.kind === 'hbone') this.#openStream(decision)
    else this.#dial(decision)
  }

  #openStream(decision: TunnelDecision): void {
    this.#facts.transport = 'HBONE'
    this.#facts.hboneAddress = decision.authority
    this.#connect = this.#pod.tunnels.open(decision, this.#client, {
      onConnected: (stream) => this.#open(stream),
      onRefused: (refusal) => this.#fail(refusal),
    })
  }

  #dial({ dial }: PlainDecision): void {
    try {
      const fd = this.#pod.dialer.open(dial.ip, null)
      this.#connect = startConnect(
        this.#pod.context.reactor,
        fd,
        dial.ip,
        dial.port,
        CONNECT_TIMEOUT_MS,
        this,
      )
    } catch (error) {
      this.#fail(refusalOf(error))
    }
  }

  onConnected(fd: number): void {
    this.#open(openSocket(this.#pod.context.reactor, fd, noHandler))
  }

  onConnectFailed(reason: CloseReason): void {
    this.#fail(refuse(reason.code, reason.detail))
  }

  #open(upstream: ByteStream): void {
    this.#connect = null
    if (this.#isClosed) {
      upstream.destroy({ code: 'SHUTDOWN', detail: '' })
      return
    }
    this.#near = this.#downstream.accept()
    this.#relay = new Relay(this.#near, upstream, this)
    this.#pod.context.opened(this.#facts)
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
    this.#pod.connections.delete(this)
    const { context } = this.#pod
    context.share.released('stream')
    context.closed(this.#facts, reason, this.#relay?.bytesToServer ?? 0, this.#relay?.bytesToClient ?? 0)
  }

  abort(reason: CloseReason): void {
    if (this.#near !== null) {
      this.#near.destroy(reason)
      return
    }
    this.#connect?.cancel()
    if (this.#isResolving) this.#pod.destinations.forget(this.#destination.ip, this.#destination.port, this)
    this.#fail(refuse(reason.code, reason.detail))
  }

  report(): Omit<ConnectionReport, 'worker' | 'uid'> {
    return {
      direction: 'outbound',
      source: this.#facts.sourceAddress,
      destination: `${this.#destination.ip}:${this.#destination.port}`,
      protocol: this.#facts.transport,
      peer: this.#facts.destinationAddress,
      bytesSent: this.#relay?.bytesToServer ?? 0,
      bytesReceived: this.#relay?.bytesToClient ?? 0,
      ageMs: Math.round(this.#pod.context.reactor.nowMs - this.#facts.startedMs),
    }
  }

  /** Policies are the destination's business. */
  recheck(): void {}
  drain(): void {}
}
