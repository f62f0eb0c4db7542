// SPDX-License-Identifier: Apache-2.0
// One pod in one worker: its own configuration, its policies, what it knows of destinations, its tunnels and its
// live connections.
import { isDeepStrictEqual } from 'node:util'
import { refusesPlaintext } from '../../mesh/authz/closed-ports.ts'
import type { AuthzConnection } from '../../mesh/authz/connection.ts'
import { compilePolicies, type PolicyIndex, type Verdict } from '../../mesh/authz/evaluate.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { PodInfo } from '../../mesh/generations/pods.ts'
import { InboundBudget } from '../../mesh/h2/session-resources.ts'
import type { InboundView } from '../../mesh/model/inbound.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import type { TurnShare } from '../../mesh/reactor/turn-share.ts'
import { type Member, Members } from '../../mesh/runtime/members.ts'
import type { OutboundSource } from '../decide/outbound-decision.ts'
import type { ConnectionReport } from '../worker-messages.ts'
import { Destinations } from './destinations.ts'
import { HostLookups } from './host-lookups.ts'
import type { Sheddable } from './node-pressure.ts'
import type { PayloadCapture } from './payload-capture.ts'
import { PodAccount } from './pod-account.ts'
import { PodDialer } from './pod-dialer.ts'
import { Tunnels } from './tunnels.ts'
import type { WorkerContext } from './worker-context.ts'
import { formatWorkloadBaggage } from './workload-baggage.ts'

/** A connection or tunnel of a pod that can be listed and ended. */
export interface PodConnection extends Member {
  abort(reason: CloseReason): void
  /** null: not a connection of its own (a tunnel). */
  report(): Omit<ConnectionReport, 'worker' | 'uid'> | null
  /** Policies changed: still allowed? */
  recheck(): void
  /** What it moves is captured from now on; null: no more. */
  capture?(payload: PayloadCapture | null): void
  /** Take nothing new, finish what there is. */
  drain(): void
  /** null: in use, so that it never gives way to others. */
  readonly sheddable: Sheddable | null
}

/** A pod this worker serves. */
export class ServedPod {
  readonly context: WorkerContext
  readonly info: PodInfo
  readonly number: number
  readonly dialer: PodDialer
  readonly destinations: Destinations
  readonly hosts: HostLookups
  readonly tunnels: Tunnels
  readonly connections = new Members<PodConnection>()
  /** null: nobody looks at its payload. */
  capture: PayloadCapture | null = null
  /** What it has of the node, all workers together. */
  readonly account: PodAccount
  /** Bytes received for what it does not read, in this worker. */
  readonly budget: InboundBudget
  /** Its part of the worker's turns. */
  readonly share: TurnShare
  /** null: enrolled but not configured. */
  inbound: InboundView | null = null
  /** How the pod describes itself to peers. */
  baggage = ''
  /** null until a connection asks: a policy of the whole mesh is also about pods that have none. */
  #compiled: PolicyIndex | null = null
  lastVerdict: Verdict | null = null
  /** Who this pod is when it connects; null as long as it is not configured. */
  source: OutboundSource | null = null
  /** Main's to close; null when the pod shares the host's. */
  readonly namespace: NetworkNamespace | null
  #isDirect = false
  #isDraining = false
  /** Also while the pod is not configured. */
  #lastIdentity = ''

  /** `namespaceFd` stays main's; null when the pod shares the host's namespace. `account`: shared with other workers. */
  constructor(
    context: WorkerContext,
    info: PodInfo,
    number: number,
    namespaceFd: number | null,
    account: SharedArrayBuffer,
  ) {
    this.context = context
    this.account = new PodAccount(account, context.index, context.limits)
    this.budget = new InboundBudget(context.limits.bufferedBytes)
    this.share = context.turnShares.open()
    this.info = info
    this.number = number
    this.namespace = namespaceFd === null ? null : NetworkNamespace.fromDescriptor(namespaceFd)
    this.dialer = new PodDialer(this.namespace, context.reactor.descriptors, context.limits.keepalive)
    const { reactor, demotions, streams } = context
    this.destinations = new Destinations(reactor, demotions.known, streams, (ip, port) =>
      context.post({ type: 'resolve', uid: info.uid, ip, port }),
    )
    this.hosts = new HostLookups(context.reactor, (host) =>
      context.post({ type: 'resolve-host', uid: info.uid, host }),
    )
    this.tunnels = new Tunnels(this)
  }

  /** A connection or tunnel of the pod begins: it is listed and counted until `onEnded`. */
  onBegun(connection: PodConnection): void {
    this.connections.add(connection)
    this.account.opened()
  }

  /** False when it had ended already. */
  onEnded(connection: PodConnection): boolean {
    if (!this.connections.delete(connection)) return false
    this.account.closed()
    return true
  }

  /** Shows its payload, also of connections that are open; null: no more. */
  startCapture(payload: PayloadCapture | null): void {
    this.capture = payload
    for (const connection of this.connections) connection.capture?.(payload)
  }

  /** May one more connection (it has begun) go on? Limits of the pod, and of the node. */
  admitConnection(): Refusal | null {
    return this.#refusedByNode() ?? this.account.admitConnection()
  }

  /** The same for a tunnel of a peer. */
  admitHandshake(): Refusal | null {
    return this.#refusedByNode() ?? this.account.admitHandshake()
  }

  #refusedByNode(): Refusal | null {
    if (!this.context.pressure.refuses(this.number)) return null
    return this.account.refuse('node', 'the node has little left, and this pod holds most of it')
  }

  /** True when connections to the application may show the client's address. */
  get canShowSource(): boolean {
    return this.namespace !== null && this.context.originalSource
  }

  /** The pod's own identity, '' while unknown. */
  get identity(): string {
    return this.inbound?.workload.identity ?? ''
  }

  /** New configuration of the pod. Live inbound connections are checked against all that may end them. */
  configure(inbound: InboundView | null): void {
    const isChanged = !haveSameElements(inbound?.policies ?? [], this.inbound?.policies ?? [])
    const isGuardChanged = !isDeepStrictEqual(inbound?.guard ?? null, this.inbound?.guard ?? null)
    const identity = inbound?.workload.identity ?? this.#lastIdentity
    const isOther = this.#lastIdentity !== '' && identity !== this.#lastIdentity
    this.#lastIdentity = identity
    this.inbound = inbound
    this.baggage = formatWorkloadBaggage(inbound?.workload ?? null)
    this.source =
      inbound === null ? null : { workload: inbound.workload, isSocks5Enabled: this.context.isSocks5Enabled }
    const wasDirect = this.#isDirect
    // A strict pod was promised encryption: nobody's choice of a short way takes it back.
    this.#isDirect = inbound?.isSameNodeDirect === true && !refusesPlaintext(inbound.policies)
    this.context.sameNode.configure(this, this.#isDirect ? (inbound?.workload.uid ?? null) : null)
    // A pod that is gone from the model may be ending: what it has open ends as it would in a tunnel.
    if (wasDirect && !this.#isDirect && inbound !== null) this.context.sameNode.onForbidden(this)
    if (isChanged) this.#compiled = null
    if (isOther) this.#becomeOther()
    else if (isChanged || isGuardChanged) for (const each of this.connections) each.recheck()
  }

  /** Its identity is another one: what stands was decided, here and by peers, for who it is no more. */
  #becomeOther(): void {
    const reason: Refusal = refuse('POLICY_CHANGED', 'the identity of the pod has changed')
    for (const connection of this.connections) connection.abort(reason)
    this.tunnels.close()
    this.tunnels.resume()
  }

  /** The policies in force, compiled. */
  get policies(): PolicyIndex {
    this.#compiled ??= compilePolicies(this.inbound?.policies ?? [])
    return this.#compiled
  }

  /** The policies' verdict, remembered for the record of a refusal. */
  readonly evaluate = (connection: AuthzConnection): Verdict => {
    this.lastVerdict = this.policies.evaluate(connection)
    return this.lastVerdict
  }

  /** True when it opted in to connections without a tunnel inside the node, and may have them. */
  get isDirect(): boolean {
    return this.#isDirect
  }

  /** True when nothing is left that a drain waits for. */
  get isIdle(): boolean {
    return this.connections.size === 0
  }

  /** True when peers are to open no more streams, also those that come out of a handshake later. */
  get isDraining(): boolean {
    return this.#isDraining
  }

  /** Tells peers to open no more streams. */
  drain(): void {
    this.#isDraining = true
    for (const connection of this.connections) connection.drain()
    this.tunnels.drain()
  }

  /** After drain(): what comes now is served again; what was let end ends. */
  resume(): void {
    this.#isDraining = false
    this.tunnels.resume()
  }

  /** Ends everything of the pod. */
  close(reason: Refusal = refuse('ENDPOINT_GONE', 'the pod was un-enrolled')): void {
    this.destinations.close(reason)
    this.hosts.close()
    for (const connection of this.connections) connection.abort(reason)
    this.tunnels.close()
    this.context.sameNode.configure(this, null)
    this.dialer.close()
  }
}

/** Policies are one object per worker as long as they are the same. */
function haveSameElements<T>(left: readonly T[], right: readonly T[]): boolean {
  return left.length === right.length && left.every((each, index) => each === right[index])
}
