// SPDX-License-Identifier: Apache-2.0
// One endpoint of a cluster: how it is chosen, how busy it is, and its connections.
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Balanced } from './balancer.ts'
import type { ClusterGauges } from './cluster-gauges.ts'
import type { EndpointView, HttpVersion } from './cluster-view.ts'
import { ConnectionPool, type PoolOwner } from './connection-pool.ts'
import type { Dial } from './dials.ts'
import { Latency } from './endpoint-load.ts'
import type { OpenAttempt } from './open-attempt.ts'
import type { EndpointOutcome } from './outlier-detection.ts'
import type { PoolSettings } from './upstream-settings.ts'

/** What an endpoint asks of its cluster. */
export interface EndpointOwner {
  readonly poolSettings: PoolSettings
  readonly gauges: ClusterGauges
  readonly resources: SessionResources
  readonly dial: Dial
  noteOutcome(endpoint: UpstreamEndpoint, outcome: EndpointOutcome): void
  noteOverflow(): void
}

/** Numbers for the admin page. */
export interface EndpointStatus {
  readonly key: string
  readonly ip: string
  readonly port: number
  readonly localityRank: number
  readonly weight: number
  /** What it weighs while it warms up. */
  readonly capacity: number
  readonly state: 'in-use' | 'warming' | 'ejected'
  /** Milliseconds until it may come back; null: it is not ejected. */
  readonly ejectedForMs: number | null
  readonly active: number
  readonly waiting: number
  readonly connections: number
  readonly dialing: number
  /** Mean time to an answer; null: not known. */
  readonly latencyMs: number | null
  /** Since it came; a connection without HTTP is one. */
  readonly requestCount: number
  readonly failureCount: number
}

export class UpstreamEndpoint implements Balanced, PoolOwner {
  readonly uid: string
  readonly rank = 0
  readonly sinceMs: number
  readonly latency = new Latency()
  capacity: number
  isEjected = false
  #view: EndpointView
  readonly #owner: EndpointOwner
  readonly #pools: { [version in HttpVersion]: ConnectionPool | null } = { http1: null, http2: null }
  #active = 0
  #requestCount = 0
  #failureCount = 0

  /** `sinceMs` −Infinity: it is not new. */
  constructor(view: EndpointView, owner: EndpointOwner, sinceMs: number) {
    this.uid = view.key
    this.#view = view
    this.#owner = owner
    this.sinceMs = sinceMs
    this.capacity = view.weight
  }

  get view(): EndpointView {
    return this.#view
  }
  get localityRank(): number {
    return this.#view.localityRank
  }
  get weight(): number {
    return this.#view.weight
  }
  get ip(): string {
    return this.#view.ip
  }
  get outstanding(): number {
    return this.#active + this.#sum(({ waitingCount }) => waitingCount)
  }
  get settings(): PoolSettings {
    return this.#owner.poolSettings
  }
  get gauges(): ClusterGauges {
    return this.#owner.gauges
  }
  get resources(): SessionResources {
    return this.#owner.resources
  }
  get dial(): Dial {
    return this.#owner.dial
  }
  /** True when nothing of it is left to close. */
  get isEmpty(): boolean {
    return this.#sum(({ isEmpty }) => Number(!isEmpty)) === 0
  }

  status(nowMs: number, ejectedUntilMs: number | null): EndpointStatus {
    const { key, ip, port, localityRank, weight } = this.#view
    const averageMs = this.latency.averageMs(nowMs)
    const inUse = this.capacity < weight ? 'warming' : 'in-use'
    return {
      ...{ key, ip, port, localityRank, weight, capacity: this.capacity },
      state: this.isEjected ? 'ejected' : inUse,
      ejectedForMs: ejectedUntilMs === null ? null : Math.max(0, ejectedUntilMs - nowMs),
      active: this.#active,
      waiting: this.#sum(({ status }) => status.waiting),
      connections: this.#sum(({ status }) => status.connections),
      dialing: this.#sum(({ status }) => status.dialing),
      latencyMs: averageMs < 0 ? null : averageMs,
      requestCount: this.#requestCount,
      failureCount: this.#failureCount,
    }
  }

  /** The same endpoint, described anew. */
  update(view: EndpointView): void {
    this.#view = view
    this.#each((pool) => pool.refresh())
  }

  /** Gives it a request, at the end of a turn. */
  add(attempt: OpenAttempt): void {
    const { version } = attempt.request
    const pool = this.#pools[version] ?? new ConnectionPool(this, version)
    this.#pools[version] = pool
    pool.add(attempt)
  }

  /** No new requests; returns those that waited. */
  retire(): OpenAttempt[] {
    const waiting: OpenAttempt[] = []
    this.#each((pool) => waiting.push(...pool.retire()))
    return waiting
  }

  /** After retire. */
  destroy(reason: CloseReason): void {
    this.#each((pool) => pool.destroy(reason))
  }

  /** A connection without HTTP began (1) or ended (−1). */
  noteTcp(change: 1 | -1): void {
    this.#active += change
    if (change > 0) this.#requestCount++
  }

  // ---- PoolOwner

  noteBegin(): void {
    this.#active++
    this.#requestCount++
    this.gauges.add('requests', 1)
  }

  noteEnd(): void {
    this.#active--
    this.gauges.add('requests', -1)
  }

  noteAnswer(status: number, latencyMs: number): void {
    if (status >= 500) this.#failureCount++
    else this.latency.note(latencyMs, this.resources.scheduler.nowMs)
    this.#owner.noteOutcome(this, { kind: 'status', status })
  }

  noteLocalFailure(): void {
    this.#failureCount++
    this.#owner.noteOutcome(this, { kind: 'local-failure' })
  }

  noteOverflow(): void {
    this.#owner.noteOverflow()
  }

  #each(callback: (pool: ConnectionPool) => void): void {
    if (this.#pools.http1 !== null) callback(this.#pools.http1)
    if (this.#pools.http2 !== null) callback(this.#pools.http2)
  }

  #sum(count: (pool: ConnectionPool) => number): number {
    const { http1, http2 } = this.#pools
    return (http1 === null ? 0 : count(http1)) + (http2 === null ? 0 : count(http2))
  }
}
