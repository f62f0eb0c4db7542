// SPDX-License-Identifier: Apache-2.0
// The endpoints of one service or subset, as one worker uses them: everything between “this request goes to this backend” and
// “here is a stream to one of its endpoints”. Requests are given out at the end of the turn, in the order in which they came.

import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer, TurnTask } from '../../mesh/reactor/scheduler.ts'
import { Balancer } from './balancer.ts'
import { ClusterGauges } from './cluster-gauges.ts'
import { type ClusterView, type HttpVersion, isSameTarget } from './cluster-view.ts'
import type { Dial } from './dials.ts'
import { MAX_PLACEMENTS } from './limits.ts'
import { OpenAttempt, type OpenHandler, type OpenRequest } from './open-attempt.ts'
import { type EndpointOutcome, OutlierDetection } from './outlier-detection.ts'
import { allowedRetries, RetryPlace } from './retry-allowance.ts'
import {
  type AttemptOutcome,
  decideRetry,
  type NoRetry,
  type RetryFacts,
  type RetryPolicy,
} from './retry-policy.ts'
import { TcpAttempt, type TcpHandler, type TcpOwner, type TcpRequest } from './tcp-attempt.ts'
import { type EndpointOwner, type EndpointStatus, UpstreamEndpoint } from './upstream-endpoint.ts'
import {
  type Algorithm,
  type HashSource,
  type PoolSettings,
  type UpstreamSettings,
  upstreamSettings,
} from './upstream-settings.ts'
import { upstreamVersion } from './upstream-version.ts'

/** What a cluster needs. */
export interface ClusterOptions {
  readonly view: ClusterView
  readonly resources: SessionResources
  readonly dial: Dial
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** An attempt that is to be made: `open` after `afterMs`; give the place back when it has ended. */
export interface GrantedRetry {
  readonly afterMs: number
  readonly place: RetryPlace
}

/** Live state, for the admin page. */
export interface ClusterStatus {
  readonly name: string
  readonly algorithm: Algorithm
  readonly endpoints: readonly EndpointStatus[]
  /** Endpoints that went and have connections yet. */
  readonly draining: readonly EndpointStatus[]
  /** In use in all workers, where they share their gauges. */
  readonly connections: number
  readonly pending: number
  readonly requests: number
  readonly retries: number
  /** Refused in this worker since the start, because a limit was reached. */
  readonly overflowCount: number
  readonly retryOverflowCount: number
  readonly ejectionCount: number
}

/** One per cluster and worker. Made with the first view; `update` brings the next, `drain` or `close` end it. */
export class Cluster implements EndpointOwner, TcpOwner, TurnTask {
  isAtTurnEnd = false
  readonly resources: SessionResources
  readonly dial: Dial
  readonly gauges: ClusterGauges
  readonly #random: () => number
  readonly #endpoints = new Map<string, UpstreamEndpoint>()
  /** Gone, with connections that finish. */
  readonly #draining = new Set<UpstreamEndpoint>()
  #view: ClusterView
  #settings: UpstreamSettings
  #balancer: Balancer<UpstreamEndpoint>
  #outlier: OutlierDetection | null = null
  #lookTimer: Timer | null = null
  /** Wait for the end of the turn. */
  #arrived: OpenAttempt[] = []
  #closeReason: CloseReason | null = null
  #overflowCount = 0
  #retryOverflowCount = 0
  #ejectionCount = 0

  constructor({ view, resources, dial, random }: ClusterOptions) {
    this.resources = resources
    this.dial = dial
    this.#random = random
    this.gauges = new ClusterGauges(view.gauges)
    this.#view = view
    this.#settings = upstreamSettings(view.policy)
    for (const each of view.endpoints)
      this.#endpoints.set(each.key, new UpstreamEndpoint(each, this, Number.NEGATIVE_INFINITY))
    this.#balancer = this.#makeBalancer()
    this.#resetOutlier()
  }

  get name(): string {
    return this.#view.name
  }
  get poolSettings(): PoolSettings {
    return this.#settings.pool
  }
  /** What the key of a request is made of (hash-key.ts); null: requests have none. */
  get hashSource(): HashSource | null {
    return this.#settings.balancing.hashSource
  }

  /** The version of HTTP that a request goes with; its headers must fit. `isUpgrade`: it asks for another protocol. */
  versionFor(wants: HttpVersion, isUpgrade: boolean): HttpVersion {
    return upstreamVersion(this.#view.protocol, this.poolSettings.upgradesToHttp2, wants, isUpgrade)
  }

  /** Asks for a stream to one of the endpoints. */
  open(request: OpenRequest, handler: OpenHandler): Cancellable {
    const attempt = new OpenAttempt(request, handler)
    this.#place(attempt)
    return attempt
  }

  /** Asks for a connection to one of the endpoints, for what is no HTTP. */
  connect(request: TcpRequest, handler: TcpHandler): Cancellable {
    return new TcpAttempt(this, request, this.resources.scheduler, handler)
  }

  /** Whether an attempt is made again, and the place of it among the retries of the cluster. */
  retry(policy: RetryPolicy, outcome: AttemptOutcome, facts: RetryFacts): GrantedRetry | NoRetry {
    const decision = decideRetry(policy, outcome, facts, this.#random())
    if (decision.kind === 'no') return decision.why
    const { gauges } = this
    const active = gauges.get('requests') + gauges.get('pending')
    if (gauges.get('retries') < allowedRetries(active, this.poolSettings.maxRetries))
      return { afterMs: decision.afterMs, place: new RetryPlace(gauges) }
    this.#retryOverflowCount++
    return 'allowance'
  }

  /** Endpoints and rules as they are now. Endpoints that stay keep their connections and what is known of them. */
  update(view: ClusterView): void {
    if (this.#closeReason !== null) return
    if (view.gauges !== this.#view.gauges) this.gauges.move(view.gauges)
    this.#view = view
    this.#settings = upstreamSettings(view.policy)
    const next = new Map(view.endpoints.map((each) => [each.key, each]))
    for (const endpoint of [...this.#endpoints.values()]) {
      const each = next.get(endpoint.uid)
      if (each !== undefined && isSameTarget(each, endpoint.view)) endpoint.update(each)
      else this.#retire(endpoint)
    }
    const { nowMs } = this.resources.scheduler
    for (const each of next.values())
      if (!this.#endpoints.has(each.key))
        this.#endpoints.set(each.key, new UpstreamEndpoint(each, this, nowMs))
    this.#balancer = this.#makeBalancer()
    this.#resetOutlier()
  }

  /** No connection is kept any more; requests that wait are refused with `reason`, those under way finish. */
  drain(reason: CloseReason): void {
    if (this.#closeReason !== null) return
    this.#closeReason = reason
    this.#lookTimer?.cancel()
    for (const endpoint of [...this.#endpoints.values()]) this.#retire(endpoint)
    this.#balancer = this.#makeBalancer()
  }

  /** Ends everything. */
  close(reason: CloseReason): void {
    this.drain(reason)
    for (const endpoint of this.#draining) endpoint.destroy(reason)
  }

  status(): ClusterStatus {
    this.#forgetDrained()
    const { nowMs } = this.resources.scheduler
    const tell = (endpoint: UpstreamEndpoint): EndpointStatus =>
      endpoint.status(nowMs, this.#outlier?.ejectedUntilMs(endpoint.uid) ?? null)
    return {
      name: this.name,
      algorithm: this.#settings.balancing.algorithm,
      endpoints: [...this.#endpoints.values()].map(tell),
      draining: [...this.#draining].map((endpoint) => endpoint.status(nowMs, null)),
      connections: this.gauges.get('connections'),
      pending: this.gauges.get('pending'),
      requests: this.gauges.get('requests'),
      retries: this.gauges.get('retries'),
      overflowCount: this.#overflowCount,
      retryOverflowCount: this.#retryOverflowCount,
      ejectionCount: this.#ejectionCount,
    }
  }

  runAtTurnEnd(): void {
    const arrived = this.#arrived
    this.#arrived = []
    for (const attempt of arrived) if (!attempt.isDone) this.#give(attempt)
  }

  // ---- EndpointOwner

  noteOutcome(endpoint: UpstreamEndpoint, outcome: EndpointOutcome): void {
    if (this.#outlier === null || this.#endpoints.get(endpoint.uid) !== endpoint) return
    const { nowMs } = this.resources.scheduler
    if (!this.#outlier.note(endpoint.uid, outcome, this.#endpoints.size, nowMs)) return
    endpoint.isEjected = true
    this.#ejectionCount++
    this.#balancer.refresh()
    this.#lookLater()
  }

  noteOverflow(): void {
    this.#overflowCount++
  }

  // ---- TcpOwner

  chooseFor(request: TcpRequest, exclude: ReadonlySet<string>): UpstreamEndpoint | Refusal {
    if (this.#closeReason !== null) return refuse(this.#closeReason.code, this.#closeReason.detail)
    const { nowMs } = this.resources.scheduler
    return this.#balancer.pick({ ...request, exclude }, nowMs) ?? refuse('NO_ENDPOINT', this.name)
  }

  // ---- inside

  #place(attempt: OpenAttempt): void {
    this.#arrived.push(attempt)
    this.resources.scheduler.atTurnEnd(this)
  }

  #give(attempt: OpenAttempt): void {
    if (this.#closeReason !== null) {
      attempt.refuse(refuse(this.#closeReason.code, this.#closeReason.detail), null)
      return
    }
    const endpoint = this.#choose(attempt.request)
    if (endpoint === null) attempt.refuse(refuse('NO_ENDPOINT', this.name), null)
    else if (++attempt.placementCount > MAX_PLACEMENTS)
      attempt.refuse(refuse('ENDPOINT_GONE', 'the endpoints change faster than they can be reached'), null)
    else endpoint.add(attempt)
  }

  #choose({ stickyKey, exclude, hash, askedIp }: OpenRequest): UpstreamEndpoint | null {
    const sticky = stickyKey === null ? undefined : this.#endpoints.get(stickyKey)
    if (sticky !== undefined && !sticky.isEjected && exclude?.has(sticky.uid) !== true) return sticky
    return this.#balancer.pick({ hash, exclude, askedIp }, this.resources.scheduler.nowMs)
  }

  #makeBalancer(): Balancer<UpstreamEndpoint> {
    return new Balancer([...this.#endpoints.values()], this.#settings.balancing, this.#random)
  }

  #retire(endpoint: UpstreamEndpoint): void {
    this.#forgetDrained()
    this.#endpoints.delete(endpoint.uid)
    for (const attempt of endpoint.retire()) this.#place(attempt)
    if (!endpoint.isEmpty) this.#draining.add(endpoint)
  }

  #forgetDrained(): void {
    for (const endpoint of this.#draining) if (endpoint.isEmpty) this.#draining.delete(endpoint)
  }

  /** Settings or endpoints have changed: what is known stays, as far as it is about somebody. */
  #resetOutlier(): void {
    const { outlier } = this.#settings
    this.#outlier = outlier === null ? null : new OutlierDetection(outlier, this.#outlier)
    this.#outlier?.retain(new Set(this.#endpoints.keys()))
    for (const endpoint of this.#endpoints.values())
      endpoint.isEjected = this.#outlier?.isEjected(endpoint.uid) ?? false
    this.#lookTimer?.cancel()
    this.#lookTimer = null
    this.#lookLater()
  }

  #lookLater(): void {
    const { outlier } = this.#settings
    if (outlier === null || this.#lookTimer !== null || this.#outlier?.needsLook !== true) return
    const { scheduler } = this.resources
    this.#lookTimer = scheduler.startTimer(outlier.intervalMs, () => {
      this.#lookTimer = null
      for (const key of this.#outlier?.look(scheduler.nowMs) ?? []) {
        const endpoint = this.#endpoints.get(key)
        if (endpoint !== undefined) endpoint.isEjected = false
        this.#balancer.refresh()
      }
      this.#lookLater()
    })
  }
}
