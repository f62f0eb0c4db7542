// SPDX-License-Identifier: Apache-2.0
// One connection of bytes that are no HTTP to an endpoint: from `connect` to exactly one outcome, unless it is cancelled. An
// endpoint that cannot be reached costs another try: nothing has been sent.

import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { ByteStream } from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler, TurnTask } from '../../mesh/reactor/scheduler.ts'
import type { ClusterGauges } from './cluster-gauges.ts'
import type { EndpointView } from './cluster-view.ts'
import { type Dial, Dials, type DialsOwner } from './dials.ts'
import { MAX_TCP_ATTEMPTS } from './limits.ts'
import { type EndpointOutcome, isOwnFault } from './outlier-detection.ts'
import type { UpstreamEndpoint } from './upstream-endpoint.ts'
import type { PoolSettings } from './upstream-settings.ts'

/** What is known about who connects; see OpenRequest. */
export interface TcpRequest {
  readonly hash: string | null
  readonly askedIp: string | null
}

/** The outcome: one call, never from inside a call of the owner's. */
export interface TcpHandler {
  /** Set the transport's handler before returning; call `place.end()` when it has closed. */
  onConnected(transport: ByteStream, place: TcpPlace): void
  /** `endpoint`: the last one that could not be reached; null: it is nobody's fault. */
  onRefused(refusal: Refusal, endpoint: EndpointView | null): void
}

/** What an attempt asks of its cluster. */
export interface TcpOwner {
  readonly gauges: ClusterGauges
  readonly poolSettings: PoolSettings
  readonly dial: Dial
  /** An endpoint, or why there is none. */
  chooseFor(request: TcpRequest, exclude: ReadonlySet<string>): UpstreamEndpoint | Refusal
  noteOutcome(endpoint: UpstreamEndpoint, outcome: EndpointOutcome): void
  noteOverflow(): void
}

/** A connection that is in use counts until it ends. */
export class TcpPlace {
  readonly endpoint: EndpointView
  readonly #endpoint: UpstreamEndpoint
  readonly #gauges: ClusterGauges
  #isEnded = false

  constructor(endpoint: UpstreamEndpoint, gauges: ClusterGauges) {
    this.endpoint = endpoint.view
    this.#endpoint = endpoint
    this.#gauges = gauges
    endpoint.noteTcp(1)
  }

  /** May be called twice. */
  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#gauges.add('connections', -1)
    this.#endpoint.noteTcp(-1)
  }
}

/** Made by Cluster. */
export class TcpAttempt implements Cancellable, DialsOwner, TurnTask {
  isAtTurnEnd = false
  readonly #owner: TcpOwner
  readonly #request: TcpRequest
  readonly #scheduler: Scheduler
  readonly #dials: Dials
  readonly #tried = new Set<string>()
  /** Null once the outcome was told or is not wanted. */
  #handler: TcpHandler | null
  #endpoint: UpstreamEndpoint | null = null

  constructor(owner: TcpOwner, request: TcpRequest, scheduler: Scheduler, handler: TcpHandler) {
    this.#owner = owner
    this.#request = request
    this.#scheduler = scheduler
    this.#handler = handler
    this.#dials = new Dials(this, scheduler)
    scheduler.atTurnEnd(this)
  }

  cancel(): void {
    this.#handler = null
    this.#owner.gauges.add('connections', -this.#dials.stop())
  }

  runAtTurnEnd(): void {
    if (this.#handler === null) return
    const { gauges, poolSettings, dial } = this.#owner
    const endpoint = this.#owner.chooseFor(this.#request, this.#tried)
    if ('kind' in endpoint) {
      this.#refuse(endpoint, null)
      return
    }
    if (gauges.get('connections') >= poolSettings.maxConnections) {
      this.#owner.noteOverflow()
      this.#refuse(refuse('UPSTREAM_OVERFLOW', 'connections'), null)
      return
    }
    this.#endpoint = endpoint
    this.#tried.add(endpoint.uid)
    gauges.add('connections', 1)
    this.#dials.start(dial, endpoint.view, poolSettings.connectTimeoutMs)
  }

  onConnected(transport: ByteStream): void {
    const endpoint = this.#endpoint
    const handler = this.#handler
    this.#handler = null
    if (endpoint === null || handler === null) return // Dials calls back for what was started, and not after stop
    this.#owner.noteOutcome(endpoint, { kind: 'status', status: 200 })
    handler.onConnected(transport, new TcpPlace(endpoint, this.#owner.gauges))
  }

  onDialFailed(refusal: Refusal): void {
    this.#owner.gauges.add('connections', -1)
    const blamed = isOwnFault(refusal.code) ? null : this.#endpoint
    if (blamed !== null) this.#owner.noteOutcome(blamed, { kind: 'local-failure' })
    if (blamed !== null && this.#tried.size < MAX_TCP_ATTEMPTS) this.#scheduler.atTurnEnd(this)
    else this.#refuse(refusal, blamed?.view ?? null)
  }

  #refuse(refusal: Refusal, endpoint: EndpointView | null): void {
    const handler = this.#handler
    this.#handler = null
    handler?.onRefused(refusal, endpoint)
  }
}
