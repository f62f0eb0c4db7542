// SPDX-License-Identifier: Apache-2.0
// What everything in one worker shares: its reactor, its identities, its way to main, and the records and counters of
// its connections.

import { RetryBudget } from '../../mesh/balance/retry-budget.ts'
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import { createTraceparent, formatTraceparent } from '../../mesh/hbone/traceparent.ts'
import type { RevokedPeers } from '../../mesh/identity/revoked-peers.ts'
import type { WorkerIdentities } from '../../mesh/identity/worker-identities.ts'
import type { ServiceFacts } from '../../mesh/model/destination.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import { formatSocketAddress, type SocketAddress } from '../../mesh/net/address.ts'
import type { AcceptShare } from '../../mesh/reactor/accept-share.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { CertificateGrace } from '../../mesh/reactor/certificate-grace.ts'
import { type HalfClosePolicy, halfClosedKeepalive } from '../../mesh/reactor/half-close-watch.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { TurnShares } from '../../mesh/reactor/turn-share.ts'
import { type ConnectionEnds, formatOpening } from '../../mesh/telemetry/connection-record.ts'
import {
  CLOSED,
  FAILED,
  OPENED,
  RECEIVED_BYTES,
  SENT_BYTES,
  type TrafficCounters,
} from '../../mesh/telemetry/counters.ts'
import { edgeParty } from '../../mesh/telemetry/edge.ts'
import { CONNECT, FIRST_BYTE, type Latencies } from '../../mesh/telemetry/latencies.ts'
import { RecordEncoder } from '../../mesh/telemetry/record-encoder.ts'
import { ENTRY_KINDS, type RecordRing } from '../../mesh/telemetry/record-ring.ts'
import { formatTrafficLabels } from '../../mesh/telemetry/traffic-labels.ts'
import type { UpMessage } from '../worker-messages.ts'
import type { Callers } from './callers.ts'
import { NodeDemotions } from './node-demotions.ts'
import type { NodePressure } from './node-pressure.ts'
import { PairSlots } from './pair-slots.ts'
import type { SameNodePods } from './same-node-pods.ts'
import type { StreamCounts } from './stream-counts.ts'
import type { ConnectionTrace, TraceSampler } from './trace-sampler.ts'
import type { WorkloadLimits } from './workload-limits.ts'

/** What is known of one connection; filled as it proceeds. */
export class ConnectionFacts {
  readonly direction: 'outbound' | 'inbound'
  /** The number of the pod whose connection it is. */
  readonly pod: number
  readonly startedMs: number
  readonly sourceAddress: SocketAddress
  connectedMs = -1
  /** When the client's first byte came; -1 before that. */
  requestedMs = -1
  /** `LOCAL`: both ends are of this node, and nothing crossed the network. */
  transport: 'HBONE' | 'TCP' | 'LOCAL' = 'TCP'
  source: WorkloadFacts | null = null
  sourceIdentity = ''
  /** null: only `hboneAddress` is known of it. */
  destinationAddress: SocketAddress | null = null
  hboneAddress = ''
  service: ServiceFacts | null = null
  destination: WorkloadFacts | null = null
  policy = ''
  /** The waypoint's pod it was diverted to, `namespace/name`; '' for all others. */
  via = ''
  /** Endpoints that failed before the one of the record. */
  retryCount = 0
  /** null: nobody traces. */
  trace: ConnectionTrace | null = null
  /** Counters of the connection while nothing is wrong with it; -1 before it could carry bytes. */
  slot = -1

  constructor(
    direction: 'outbound' | 'inbound',
    pod: { readonly number: number },
    startedMs: number,
    client: SocketAddress,
  ) {
    this.direction = direction
    this.pod = pod.number
    this.startedMs = startedMs
    this.sourceAddress = client
  }

  get sourceText(): string {
    return formatSocketAddress(this.sourceAddress.ip, this.sourceAddress.port)
  }

  /** What a tunnel stream of this connection says of its trace. */
  get traceparent(): string {
    return this.trace === null ? createTraceparent() : formatTraceparent(this.trace)
  }
}

/** One worker. */
export class WorkerContext {
  /** Its number among the workers. */
  readonly index: number
  readonly reactor: Reactor
  readonly limits: WorkloadLimits
  readonly halfClose: HalfClosePolicy
  /** Knows pods by their number. */
  readonly pressure: NodePressure<number>
  readonly turnShares: TurnShares
  readonly resources: SessionResources
  readonly share: AcceptShare
  readonly identities: WorkerIdentities
  readonly callers: Callers
  readonly revoked: RevokedPeers
  /** null: off. */
  readonly grace: CertificateGrace | null
  /** Present the client's address to the application. */
  readonly originalSource: boolean
  readonly isSocks5Enabled: boolean
  readonly post: (message: UpMessage) => void
  readonly counters: TrafficCounters
  readonly latencies: Latencies
  /** null: nobody traces. */
  readonly traces: TraceSampler | null
  /** Somebody listens: connections are told when they open, too. */
  isTapped = false
  readonly sameNode: SameNodePods
  /** What this node has open to instances of waypoints. */
  readonly streams: StreamCounts
  readonly demotions: NodeDemotions
  readonly retryBudget: RetryBudget
  readonly #records: RecordRing
  readonly #encoder: RecordEncoder
  readonly #pairSlots = new PairSlots()

  constructor(parts: {
    readonly index: number
    readonly reactor: Reactor
    readonly limits: WorkloadLimits
    readonly pressure: NodePressure<number>
    readonly resources: SessionResources
    readonly share: AcceptShare
    readonly identities: WorkerIdentities
    readonly callers: Callers
    readonly revoked: RevokedPeers
    readonly sameNode: SameNodePods
    readonly streams: StreamCounts
    readonly grace: CertificateGrace | null
    readonly originalSource: boolean
    readonly isSocks5Enabled: boolean
    readonly post: (message: UpMessage) => void
    readonly counters: TrafficCounters
    readonly latencies: Latencies
    readonly traces: TraceSampler | null
    readonly records: RecordRing
  }) {
    this.index = parts.index
    this.reactor = parts.reactor
    this.limits = parts.limits
    const { halfCloseMs, keepalive } = parts.limits
    this.halfClose = {
      ...{ scheduler: parts.reactor, timeoutMs: halfCloseMs },
      keepalive: halfClosedKeepalive(keepalive),
    }
    this.pressure = parts.pressure
    this.turnShares = new TurnShares(parts.reactor, parts.limits.turn)
    this.retryBudget = new RetryBudget(parts.reactor.nowMs)
    this.resources = parts.resources
    this.share = parts.share
    this.identities = parts.identities
    this.callers = parts.callers
    this.revoked = parts.revoked
    this.sameNode = parts.sameNode
    this.streams = parts.streams
    this.grace = parts.grace
    this.originalSource = parts.originalSource
    this.isSocks5Enabled = parts.isSocks5Enabled
    this.post = parts.post
    this.demotions = new NodeDemotions(parts.reactor.nowMs, parts.post)
    this.counters = parts.counters
    this.latencies = parts.latencies
    this.traces = parts.traces
    this.#records = parts.records
    this.#encoder = new RecordEncoder(parts.records)
  }

  /** An attempt failed, another endpoint is tried. */
  retried(reason: ReasonCode): void {
    this.post({ type: 'connect-retried', reason })
  }

  /** The connection can carry bytes from now on. */
  opened(facts: ConnectionFacts): void {
    facts.connectedMs = this.reactor.nowMs
    facts.slot = this.#slot(facts, 'OK')
    this.counters.add(facts.slot, OPENED, 1)
    this.#observe(CONNECT, facts, facts.startedMs)
    if (this.isTapped)
      this.#records.push(
        formatOpening(performance.timeOrigin + this.reactor.nowMs, endsOf(facts)),
        ENTRY_KINDS.aside,
        facts.pod,
      )
  }

  /** The first byte of an end has passed. */
  firstByte(facts: ConnectionFacts, from: 'client' | 'server'): void {
    if (from === 'client') facts.requestedMs = this.reactor.nowMs
    else this.#observe(FIRST_BYTE, facts, facts.requestedMs < 0 ? facts.connectedMs : facts.requestedMs)
  }

  /** What was opened is lost, and the connection goes on to another endpoint. */
  lost(facts: ConnectionFacts, { code }: CloseReason): void {
    const slot = this.#slot(facts, code)
    this.counters.add(slot, CLOSED, 1)
    this.counters.add(slot, FAILED, 1)
    facts.slot = -1
    facts.connectedMs = -1
  }

  #observe(metric: number, { direction, transport }: ConnectionFacts, sinceMs: number): void {
    const tookMs = this.reactor.nowMs - sinceMs
    this.latencies.observe(metric, direction === 'outbound', transport !== 'TCP', tookMs)
  }

  /** The connection has ended: its one record, its counters. */
  closed(facts: ConnectionFacts, reason: CloseReason, bytesToServer: number, bytesToClient: number): void {
    const { nowMs } = this.reactor
    const isOutbound = facts.direction === 'outbound'
    if (facts.slot >= 0) {
      if (bytesToServer > 0) this.counters.add(facts.slot, RECEIVED_BYTES, bytesToServer)
      if (bytesToClient > 0) this.counters.add(facts.slot, SENT_BYTES, bytesToClient)
    }
    const slot = reason.code === 'OK' && facts.slot >= 0 ? facts.slot : this.#slot(facts, reason.code)
    if (facts.connectedMs >= 0) this.counters.add(slot, CLOSED, 1)
    if (reason.code !== 'OK') this.counters.add(slot, FAILED, 1)
    const trace = facts.trace?.isSampled === true ? facts.trace : null
    this.#encoder.push(
      {
        ...endsOf(facts),
        endMs: performance.timeOrigin + nowMs,
        code: reason.code,
        detail: reason.detail,
        bytesSent: isOutbound ? bytesToServer : bytesToClient,
        bytesReceived: isOutbound ? bytesToClient : bytesToServer,
        durationMs: nowMs - facts.startedMs,
        retryCount: facts.retryCount,
        connectMs: facts.connectedMs < 0 ? -1 : facts.connectedMs - facts.startedMs,
        trace,
      },
      reason.code === 'OK' && trace === null ? ENTRY_KINDS.record : ENTRY_KINDS.notable,
      facts.pod,
      facts.slot,
    )
  }

  #slot(facts: ConnectionFacts, code: ReasonCode): number {
    if (code !== 'OK') return this.#slotByKey(facts, code)
    const known = this.#pairSlots.get(facts)
    if (known >= 0) return known
    const slot = this.#slotByKey(facts, code)
    this.#pairSlots.set(facts, slot)
    return slot
  }

  #slotByKey(facts: ConnectionFacts, code: ReasonCode): number {
    const { direction, source, destination, service, transport } = facts
    const key = `${direction}|${source?.uid}|${destination?.uid}|${service?.hostname}|${transport}|${code}`
    return this.counters.slotOf(key, () => {
      const reporter = direction === 'outbound' ? 'source' : 'destination'
      const isMutualTls = transport !== 'TCP' // locally both identities are as sure
      const { responseFlag } = REASONS[code]
      const own = direction === 'outbound' ? source : destination
      return {
        text: formatTrafficLabels({ reporter, source, destination, service, responseFlag, isMutualTls }),
        edge: {
          ...{ reporter, source: edgeParty(source), destination: edgeParty(destination) },
          ...{ service: service?.hostname ?? '', isPlaintext: !isMutualTls, reason: code },
        },
        pod: own === null ? '' : `${own.namespace}/${own.name}`,
      }
    })
  }
}

function endsOf(facts: ConnectionFacts): ConnectionEnds {
  return {
    direction: facts.direction,
    transport: facts.transport,
    sourceAddress: facts.sourceAddress,
    source: facts.source,
    sourceIdentity: facts.sourceIdentity,
    destinationAddress: facts.destinationAddress,
    hboneAddress: facts.hboneAddress,
    service: facts.service?.hostname ?? '',
    destination: facts.destination,
    policy: facts.policy,
    via: facts.via,
  }
}
