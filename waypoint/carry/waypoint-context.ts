// SPDX-License-Identifier: Apache-2.0
// What everything in a worker of a waypoint stands on.
import { refuse } from '../../mesh/errors/refusal.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { RevokedPeers } from '../../mesh/identity/revoked-peers.ts'
import type { WorkerIdentities } from '../../mesh/identity/worker-identities.ts'
import type { AcceptShare } from '../../mesh/reactor/accept-share.ts'
import type { Block } from '../../mesh/reactor/byte-stream.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import type { CallerLabels } from '../model/caller-labels.ts'
import type { ClusterFacts, TargetView } from '../model/views.ts'
import type { RequestLog } from '../records/request-log.ts'
import type { Tracer } from '../tracing/request-trace.ts'
import { Cluster } from '../upstream/cluster.ts'
import type { UpMessage } from '../worker-messages.ts'
import { BodyWatch } from './body-watch.ts'
import { EndpointDialer } from './endpoint-dialer.ts'
import { KnownTokens } from './known-tokens.ts'
import { KnownViews } from './known-views.ts'
import { OpenBytesByTarget } from './open-bytes.ts'
import type { RequestSeries } from './request-series.ts'
import { type Target, targetOf } from './target.ts'

/** A cluster, and what records say of its endpoints. */
export interface KnownCluster {
  readonly cluster: Cluster
  facts: ClusterFacts
}

/** A target that is served, or why it is not. */
export type KnownTarget = { readonly view: TargetView; readonly target: Target | null }

export interface WaypointContextOptions {
  readonly reactor: Reactor
  readonly resources: SessionResources
  readonly inner: SessionResources
  readonly share: AcceptShare
  readonly identities: WorkerIdentities
  readonly revoked: RevokedPeers
  readonly log: RequestLog
  /** null: nobody traces. */
  readonly tracer: Tracer | null
  readonly series: RequestSeries
  /** SPIFFE id of the waypoint. */
  readonly identity: string
  readonly trustDomain: string
  readonly baggage: string
  /** A request's body of which nothing comes; 0: it is waited for for ever. */
  readonly bodyTimeoutMs: number
  /** For bytes that are on their way out; whoever writes it is done with it at once. */
  readonly scratch: Block
  readonly post: (message: UpMessage) => void
}

export class WaypointContext {
  readonly reactor: Reactor
  /** Of tunnels. */
  readonly resources: SessionResources
  /** Of sessions inside tunnels: a session that writes to a session must not share its staging. */
  readonly inner: SessionResources
  readonly share: AcceptShare
  readonly identities: WorkerIdentities
  readonly revoked: RevokedPeers
  readonly log: RequestLog
  /** null: nobody traces. */
  readonly tracer: Tracer | null
  readonly series: RequestSeries
  readonly identity: string
  readonly trustDomain: string
  readonly scratch: Block
  readonly dialer: EndpointDialer
  readonly targets: KnownViews<KnownTarget>
  readonly clusters: KnownViews<KnownCluster>
  readonly tokens: KnownTokens
  /** By `<identity>|<address>`; none is kept. */
  readonly callers: KnownViews<{ readonly labels: CallerLabels }>
  readonly openBytes = new OpenBytesByTarget()
  readonly bodies: BodyWatch
  readonly post: (message: UpMessage) => void
  /** Exchanges under way. */
  exchangeCount = 0
  /** Requests that wait on purpose. */
  delayedCount = 0
  mirrorCount = 0
  /** Since the start: attempts after the first of a request, and copies of requests. */
  retryTotal = 0
  mirrorTotal = 0

  constructor(options: WaypointContextOptions) {
    const { reactor, resources, identities, revoked, identity, baggage, post } = options
    this.reactor = reactor
    this.resources = resources
    this.inner = options.inner
    this.share = options.share
    this.identities = identities
    this.revoked = revoked
    this.log = options.log
    this.tracer = options.tracer
    this.series = options.series
    this.identity = identity
    this.trustDomain = options.trustDomain
    this.scratch = options.scratch
    this.bodies = new BodyWatch(reactor, options.bodyTimeoutMs)
    this.post = post
    this.dialer = new EndpointDialer({ reactor, resources, identities, revoked, identity, baggage })
    this.targets = new KnownViews(reactor, (authority) => post({ type: 'resolve-target', authority }))
    this.clusters = new KnownViews(reactor, (name) => post({ type: 'resolve-cluster', name }))
    this.callers = new KnownViews(reactor, (key) => {
      const at = key.indexOf('|')
      post({ type: 'resolve-caller', key, identity: key.slice(0, at), ip: key.slice(at + 1) })
    })
    this.tokens = new KnownTokens(reactor, (key, token, rules) =>
      post({ type: 'verify-token', key, token, rules }),
    )
  }

  learnTarget(view: TargetView): void {
    const target = targetOf(view)
    this.targets.learn(view.authority, { view, target }, target !== null)
    this.openBytes.onChanged(view.authority)
  }

  learnCluster(facts: ClusterFacts): void {
    const { name } = facts.view
    const known = this.clusters.get(name)
    if (known === undefined) this.clusters.learn(name, this.makeCluster(facts, ''))
    else {
      known.facts = facts
      known.cluster.update(facts.view)
    }
  }

  /** One that belongs to nobody else; `divertedFor`: as EndpointDialer.dial. */
  makeCluster(facts: ClusterFacts, divertedFor: string): KnownCluster {
    const { inner: resources, dialer } = this
    const cluster = new Cluster({
      ...{ view: facts.view, resources, random: Math.random },
      dial: (endpoint, callback) => dialer.dial(endpoint, divertedFor, callback),
    })
    return { cluster, facts }
  }

  drain(): void {
    this.dialer.drain()
  }

  close(): void {
    const reason = refuse('SHUTDOWN', '')
    this.targets.close(reason)
    this.clusters.close(reason)
    this.callers.close(reason)
    this.tokens.close()
    this.bodies.close()
    for (const { cluster } of this.clusters.values()) cluster.close(reason)
    this.dialer.close()
  }
}
