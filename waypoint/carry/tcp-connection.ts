// SPDX-License-Identifier: Apache-2.0
// One connection of a caller that is carried as bytes: an endpoint of the backend that its routes name.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { type ByteStream, CLOSED_OK, type CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { Relay } from '../../mesh/reactor/relay.ts'
import { pickTcpBackend } from '../decide/tcp-decision.ts'
import { clusterName, ownCluster } from '../model/views.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import type { TcpPlace } from '../upstream/tcp-attempt.ts'
import type { ConnectionOptions } from './http-connection.ts'
import type { EndedConnection } from './request-series.ts'
import type { KnownCluster } from './waypoint-context.ts'

/** connecting → carrying → closed. */
export class TcpConnection implements EndedConnection {
  readonly #options: ConnectionOptions
  readonly #near: ByteStream
  #far: ByteStream | null = null
  #place: TcpPlace | null = null
  #connect: { cancel(): void } | null = null
  #relay: Relay | null = null
  #isOver = false
  endpoint: EndpointView | null = null
  known: KnownCluster | null = null
  route = ''
  readonly startedMs: number

  /** `near` is the connection's from now on, and paused. `serverName`: of its ClientHello; ''. */
  constructor(options: ConnectionOptions, near: ByteStream, serverName: string) {
    this.#options = options
    this.#near = near
    this.startedMs = options.context.reactor.nowMs
    near.setHandler({
      onData() {}, // paused
      onEnd: () => {},
      onDrain() {},
      onClose: (reason) => this.#over(reason),
    })
    near.pause()
    const { context, target, own } = options
    const name = this.#clusterName(serverName)
    if (isRefusal(name)) {
      this.#fail(name)
      return
    }
    const known = name === '' ? own : context.clusters.get(name)
    if (known === null) this.#fail(refuse('TARGET_UNSERVED', target.view.authority))
    else if (known !== undefined) this.#dial(known)
    else
      context.clusters.request(name, (answer) => {
        if (this.#isOver) return
        if (isRefusal(answer)) this.#fail(answer)
        else this.#dial(answer)
      })
  }

  get isCarried(): boolean {
    return this.#relay !== null
  }
  get bytesReceived(): number {
    return this.#relay?.bytesToServer ?? 0
  }
  get bytesSent(): number {
    return this.#relay?.bytesToClient ?? 0
  }

  destroy(reason: CloseReason): void {
    this.#near.destroy(reason)
    this.#far?.destroy(reason)
    this.#over(reason)
  }

  #clusterName(serverName: string): string | Refusal {
    const { target, caller } = this.#options
    const routes = target.tcpRoutes(caller.namespace)
    const { view } = target
    if (routes === null) return view.kind === 'service' ? ownCluster(view) : ''
    const picked = pickTcpBackend(routes, caller, serverName, Math.random())
    if (isRefusal(picked)) return picked
    this.route = picked.origin
    const { service, port, subset } = picked.backend
    return clusterName(service, port === 0 ? target.port : port, subset)
  }

  #dial(known: KnownCluster): void {
    const { cluster, facts } = known
    this.known = known
    if (facts.refusal !== null) {
      this.#fail(facts.refusal)
      return
    }
    const { sender } = this.#options
    const request = { hash: cluster.hashSource?.kind === 'source-ip' ? sender.ip : null, askedIp: null }
    this.#connect = cluster.connect(request, {
      onConnected: (transport, place) => this.#carry(transport, place),
      onRefused: (refusal, endpoint) => {
        this.endpoint = endpoint
        this.#fail(refusal)
      },
    })
  }

  #carry(far: ByteStream, place: TcpPlace): void {
    this.#connect = null
    this.#far = far
    this.#place = place
    this.endpoint = place.endpoint
    this.#relay = new Relay(this.#near, far, {
      onFirstByte() {},
      onRelayClosed: (reason) => this.#over(reason),
    })
    this.#near.resume()
  }

  #fail(refusal: Refusal): void {
    this.#near.destroy(refusal)
    this.#over(refusal)
  }

  #over(reason: CloseReason): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#connect?.cancel()
    this.#place?.end()
    this.#options.own?.cluster.drain(reason)
    this.#options.onClosed(reason.code === 'OK' ? CLOSED_OK : reason)
  }
}
