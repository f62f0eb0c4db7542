// SPDX-License-Identifier: Apache-2.0
// The connections to one endpoint with one version of HTTP, and the requests that wait for them. A request takes whichever
// connection is free first: one that ends its request, or one that is made for it. SPEC ENVOY connection pooling.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer, TurnTask } from '../../mesh/reactor/scheduler.ts'
import type { ClusterGauges } from './cluster-gauges.ts'
import type { EndpointView, HttpVersion } from './cluster-view.ts'
import { type Dial, Dials, type DialsOwner } from './dials.ts'
import { Http1UpstreamConnection } from './http1-connection.ts'
import { Http2UpstreamConnection } from './http2-connection.ts'
import { MAX_HTTP2_STREAMS } from './limits.ts'
import type { AttemptQueue, OpenAttempt } from './open-attempt.ts'
import { isOwnFault } from './outlier-detection.ts'
import type { ConnectionHandler, UpstreamConnection } from './upstream-connection.ts'
import { type ExchangeBooks, UpstreamExchange } from './upstream-exchange.ts'
import type { PoolSettings } from './upstream-settings.ts'
import { WaitingAttempts } from './waiting-attempts.ts'

/** What a pool asks of its endpoint. */
export interface PoolOwner {
  readonly view: EndpointView
  readonly settings: PoolSettings
  readonly gauges: ClusterGauges
  readonly resources: SessionResources
  readonly dial: Dial
  noteBegin(): void
  noteEnd(): void
  noteAnswer(status: number, latencyMs: number): void
  noteLocalFailure(): void
  noteOverflow(): void
}

/** Numbers for the admin page. */
export interface PoolStatus {
  readonly connections: number
  readonly dialing: number
  readonly waiting: number
}

interface RefusedAttempt {
  readonly attempt: OpenAttempt
  readonly refusal: Refusal
  /** null: it is not the fault of the endpoint. */
  readonly blamed: EndpointView | null
}

/** Connections are looked at so often in the time that they may be idle. */
const SWEEPS = 4
const MIN_SWEEP_MS = 100

/** One for each version that an endpoint is asked with. Made by UpstreamEndpoint. */
export class ConnectionPool implements AttemptQueue, ConnectionHandler, DialsOwner, ExchangeBooks, TurnTask {
  isAtTurnEnd = false
  readonly #owner: PoolOwner
  readonly #version: HttpVersion
  readonly #connections = new Set<UpstreamConnection>()
  /** Those that had room when they were last looked at; the one that was used last is at the end. */
  readonly #ready: UpstreamConnection[] = []
  readonly #dials: Dials
  readonly #waiting: WaitingAttempts
  /** Refusals owed at the end of the turn. */
  #refused: RefusedAttempt[] = []
  #sweepTimer: Timer | null = null
  /** What the latest connection took at one time: the next is not given more before its server has said what it allows. */
  #capacity: number

  constructor(owner: PoolOwner, version: HttpVersion) {
    this.#owner = owner
    this.#version = version
    this.#waiting = new WaitingAttempts(owner.gauges, owner.resources.scheduler, (attempt) =>
      this.#overflow(attempt, 'no connection was free in time'),
    )
    this.#dials = new Dials(this, owner.resources.scheduler)
    this.#capacity = version === 'http1' ? 1 : MAX_HTTP2_STREAMS
  }

  get view(): EndpointView {
    return this.#owner.view
  }
  get waitingCount(): number {
    return this.#waiting.size
  }
  /** True when nothing is left to close. */
  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#dials.size === 0
  }
  get status(): PoolStatus {
    return {
      connections: this.#connections.size,
      dialing: this.#dials.size,
      waiting: this.#waiting.size,
    }
  }

  /** Cluster, at the end of a turn: the attempt starts, waits, or is refused. */
  add(attempt: OpenAttempt): void {
    attempt.queue = this
    if (this.#waiting.size === 0 && this.#startAnywhere(attempt)) return
    const { gauges, settings } = this.#owner
    if (gauges.get('pending') >= settings.maxPendingRequests) {
      this.#overflow(attempt, 'requests that wait for a connection')
      return
    }
    this.#waiting.add(attempt)
    this.#dialAsNeeded()
  }

  forget(attempt: OpenAttempt): void {
    this.#waiting.remove(attempt)
  }

  /** No new requests; those under way finish. Returns those that waited: nothing of them was sent. */
  retire(): OpenAttempt[] {
    const waiting = [...this.#waiting]
    for (const attempt of waiting) {
      this.forget(attempt)
      attempt.queue = null
    }
    this.#owner.gauges.add('connections', -this.#dials.stop())
    for (const connection of this.#connections) connection.drain()
    return waiting
  }

  /** After retire: ends what is still under way. */
  destroy(reason: CloseReason): void {
    for (const connection of this.#connections) connection.destroy(reason)
  }

  /** Limits have changed. */
  refresh(): void {
    this.#sweepTimer?.cancel()
    this.#sweepTimer = null
    this.#watch()
    this.#serveLater()
  }

  runAtTurnEnd(): void {
    const refused = this.#refused
    if (refused.length > 0) this.#refused = []
    for (const { attempt, refusal, blamed } of refused) attempt.refuse(refusal, blamed)
    this.#serve()
  }

  // ---- ConnectionHandler

  onRoom(connection: UpstreamConnection): void {
    this.#capacity = connection.capacity
    if (!connection.hasRoom || !this.#connections.has(connection)) return
    this.#markReady(connection)
    if (this.#waiting.size > 0) this.#serveLater()
  }

  onConnectionClosed(connection: UpstreamConnection): void {
    if (!this.#connections.delete(connection)) return
    if (connection.isReady) this.#ready.splice(this.#ready.indexOf(connection), 1)
    this.#owner.gauges.add('connections', -1)
    if (this.#connections.size === 0) {
      this.#sweepTimer?.cancel()
      this.#sweepTimer = null
    }
    this.#serveLater()
  }

  // ---- DialsOwner

  onConnected(transport: ByteStream): void {
    const { resources } = this.#owner
    const connection =
      this.#version === 'http1'
        ? new Http1UpstreamConnection(transport, resources, this)
        : new Http2UpstreamConnection(transport, resources, this, this.#capacity)
    this.#connections.add(connection)
    this.#markReady(connection)
    this.#watch()
    this.#serveLater()
  }

  /** One that waits hears of it; all do when no connection is left that they could wait for. */
  onDialFailed(refusal: Refusal): void {
    this.#owner.gauges.add('connections', -1)
    const blamed = isOwnFault(refusal.code) ? null : this.view
    if (blamed !== null) this.#owner.noteLocalFailure()
    const isHopeless = this.#connections.size + this.#dials.size === 0
    for (const attempt of this.#waiting) {
      this.forget(attempt)
      attempt.queue = null
      this.#refused.push({ attempt, refusal, blamed })
      if (!isHopeless) break
    }
    this.#serveLater()
  }

  // ---- ExchangeBooks

  noteAnswer(status: number, latencyMs: number): void {
    this.#owner.noteAnswer(status, latencyMs)
  }

  noteLocalFailure(): void {
    this.#owner.noteLocalFailure()
  }

  noteEnd(connection: UpstreamConnection): void {
    this.#owner.noteEnd()
    this.onRoom(connection)
  }

  // ---- inside

  #serveLater(): void {
    this.#owner.resources.scheduler.atTurnEnd(this)
  }

  #serve(): void {
    for (const attempt of this.#waiting) if (!this.#startAnywhere(attempt)) break
    this.#dialAsNeeded()
  }

  #markReady(connection: UpstreamConnection): void {
    if (connection.isReady) return
    connection.isReady = true
    this.#ready.push(connection)
  }

  /** A connection with room. */
  #takeReady(): UpstreamConnection | null {
    for (let last = this.#ready.at(-1); last !== undefined; last = this.#ready.at(-1)) {
      if (last.hasRoom) return last
      last.isReady = false
      this.#ready.pop()
    }
    return null
  }

  /** False: no connection has room. */
  #startAnywhere(attempt: OpenAttempt): boolean {
    for (let connection = this.#takeReady(); connection !== null; connection = this.#takeReady())
      if (this.#start(attempt, connection)) return true
    return false
  }

  /** True: the attempt has its outcome. False: the connection has no room after all, and is not ready any more. */
  #start(attempt: OpenAttempt, connection: UpstreamConnection): boolean {
    const { gauges, settings, resources } = this.#owner
    if (gauges.get('requests') >= settings.maxRequests) {
      this.#overflow(attempt, 'requests under way')
      return true
    }
    const { headers, isEnd } = attempt.request
    const stream = connection.start(headers, isEnd)
    if (isRefusal(stream)) {
      if (!connection.hasRoom) return false
      this.forget(attempt)
      attempt.refuse(stream, null)
      return true
    }
    if (connection.requestCount >= settings.maxRequestsPerConnection) connection.drain()
    this.#owner.noteBegin()
    this.forget(attempt)
    const exchange = new UpstreamExchange(this, stream, this.#version, connection, resources.scheduler)
    attempt.succeed(stream, exchange)
    return true
  }

  #overflow(attempt: OpenAttempt, what: string): void {
    this.#owner.noteOverflow()
    this.forget(attempt)
    attempt.refuse(refuse('UPSTREAM_OVERFLOW', what), null)
  }

  #dialAsNeeded(): void {
    while (this.#dials.size * this.#capacity < this.#waiting.size && this.#mayDial()) this.#dial()
  }

  /** SPEC ENVOY: whatever the limit of the cluster, an endpoint may have one, or who waits there would wait for ever. */
  #mayDial(): boolean {
    if (this.#owner.gauges.get('connections') < this.#owner.settings.maxConnections) return true
    return this.#dials.size === 0 && this.#connections.values().every(({ isEnding }) => isEnding)
  }

  #dial(): void {
    const { dial, settings, gauges, view } = this.#owner
    gauges.add('connections', 1)
    this.#dials.start(dial, view, settings.connectTimeoutMs)
  }

  /** Closes connections that nobody uses, and those that are old enough. */
  #watch(): void {
    const { idleTimeoutMs, maxConnectionMs } = this.#owner.settings
    const shortestMs = Math.min(idleTimeoutMs, maxConnectionMs)
    if (this.#sweepTimer !== null || this.#connections.size === 0 || !Number.isFinite(shortestMs)) return
    const { scheduler } = this.#owner.resources
    this.#sweepTimer = scheduler.startTimer(Math.max(MIN_SWEEP_MS, shortestMs / SWEEPS), () => {
      this.#sweepTimer = null
      for (const connection of this.#connections) {
        const isOld = scheduler.nowMs - connection.startedMs >= maxConnectionMs
        const isIdle = connection.openCount === 0 && scheduler.nowMs - connection.idleSinceMs >= idleTimeoutMs
        if (isOld || isIdle) connection.drain()
      }
      this.#watch()
    })
  }
}
