// SPDX-License-Identifier: Apache-2.0
// A connection between two pods of this node that both opted in (`sidestep.dev/same-node: direct`): carried in this process,
// no tunnel, no bytes on any wire. Who calls whom is known from enrolment instead of a handshake; everything else is as it
// would be over HBONE: the destination's decision and policies, both records, what ends live connections.
import { REASONS } from '../../mesh/errors/reasons.ts'
import type { Refusal } from '../../mesh/errors/refusal.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { parseAuthority } from '../../mesh/hbone/authority.ts'
import { type Cancellable, refusalOfStatus } from '../../mesh/hbone/connect-attempt.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import { isLoopback } from '../../mesh/net/address.ts'
import type { ByteStream } from '../../mesh/reactor/byte-stream.ts'
import { createDirectPair } from '../../mesh/reactor/direct-pair.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { REVOKED_DETAIL, type TlsCredentials } from '../../mesh/reactor/tls-context.ts'
import type { Member } from '../../mesh/runtime/members.ts'
import type { OutboundDecision, TunnelDecision } from '../decide/outbound-decision.ts'
import { carryInbound } from './carry-inbound.ts'
import type { Downstream } from './downstream.ts'
import type { InboundConnection } from './inbound-connection.ts'
import type { ServedPod } from './served-pod.ts'
import { checkIdentity } from './tunnels.ts'
import { ConnectionFacts } from './worker-context.ts'

/** Hears one of the two, once, in a later turn, unless it cancelled. */
export interface SameNodeOwner {
  /** What a tunnel stream would say of its trace. */
  readonly traceparent: string
  /** Set the stream's handler before returning. */
  onConnected(stream: ByteStream): void
  onRefused(refusal: Refusal): void
}

/**
 * The pod of this node that a connection can be handed to without a tunnel; null: it takes the tunnel, for which nothing
 * must be wrong with certificates, and which names what is.
 */
export function sameNodeTarget(
  source: ServedPod,
  decision: OutboundDecision,
  client: SocketAddress,
): ServedPod | null {
  if (!source.isDirect || decision.kind !== 'hbone') return null
  if (decision.isWaypoint || decision.inner !== null || isLoopback(client.ip)) return null
  const target = source.context.sameNode.get(decision.workload.uid)
  if (target === undefined || target === source || !target.isDirect || target.isDraining) return null
  if (checkIdentity(decision.expectedIdentities, [target.identity]) !== null) return null
  const ids = [parseSpiffeId(source.identity), parseSpiffeId(target.identity)] as const
  if (isRefusal(ids[0]) || isRefusal(ids[1]) || ids[0].trustDomain !== ids[1].trustDomain) return null
  const hasCertificates = [source, target].every((pod) => usableCredentials(pod) !== null)
  // The address in the model may be another pod's by now: only what the pod itself has is asked there. And who comes from
  // elsewhere into the source (SOCKS5, a machine inside the pod) would be seen with the source's address out of a tunnel.
  const areOwn = target.dialer.owns(decision.dial.ip) && source.dialer.owns(client.ip)
  return hasCertificates && areOwn ? target : null
}

function usableCredentials({ context, identity }: ServedPod): TlsCredentials | null {
  const credentials = context.identities.get(identity)?.credentials
  return credentials?.isUsable(context.revoked) ? credentials : null
}

/** One connection between two pods of this worker. Starts in the next turn. */
export class SameNodeConnect implements Cancellable, Downstream, Member {
  memberIndex = -1
  readonly hasEnded = false // nothing is read of the client before
  readonly #source: ServedPod
  readonly #target: ServedPod
  readonly #decision: TunnelDecision
  readonly #client: SocketAddress
  /** Of both pods, as a handshake would have seen them. */
  readonly #credentials: TlsCredentials[]
  readonly #traceparent: string
  #owner: SameNodeOwner | null
  #inbound: InboundConnection | null = null

  constructor(
    source: ServedPod,
    target: ServedPod,
    decision: TunnelDecision,
    client: SocketAddress,
    owner: SameNodeOwner,
  ) {
    this.#source = source
    this.#target = target
    this.#decision = decision
    this.#client = client
    this.#owner = owner
    this.#traceparent = owner.traceparent
    this.#credentials = [source, target].map(usableCredentials).filter((each) => each !== null)
    for (const credentials of this.#credentials) credentials.retain()
    source.context.sameNode.onOpened(this)
    source.context.reactor.inNextTurn(() => this.#start())
  }

  #start(): void {
    if (this.#owner === null) {
      this.#release()
      return
    }
    const { identity, context } = this.#source
    const { authority, dial } = this.#decision
    const id = parseSpiffeId(identity)
    const target = parseAuthority(authority)
    // Both are texts of ours: what would be refused here was no decision.
    if (isRefusal(id) || isRefusal(target)) throw new TypeError(`${identity} ${authority}`)
    const facts = new ConnectionFacts('inbound', this.#target, context.reactor.nowMs, this.#client)
    facts.transport = 'LOCAL'
    facts.trace = context.traces?.begin(this.#traceparent) ?? null
    facts.source = this.#source.source?.workload ?? null
    facts.sourceIdentity = identity
    facts.hboneAddress = authority
    facts.destination = this.#target.inbound?.workload ?? null
    const { host, port } = target
    const arrival = {
      ...{ host, port, localIp: dial.ip, client: this.#client, isDiverted: false },
      ...{ identity: id, identityText: identity, downstream: this, facts },
    }
    this.#inbound = carryInbound(this.#target, arrival, () => this.#release())
    if (this.#inbound === null) this.#release()
  }

  accept(): ByteStream {
    const { reactor } = this.#source.context
    const [near, far] = createDirectPair(reactor, reactor.pool)
    const owner = this.#owner
    this.#owner = null
    owner?.onConnected(near)
    return far
  }

  /** Told as the other node would have told it: by the status of the reason. */
  refuse({ code }: Refusal): void {
    const owner = this.#owner
    this.#owner = null
    owner?.onRefused(refusalOfStatus(String(REASONS[code].httpStatus)))
  }

  cancel(): void {
    this.#owner = null
    this.#inbound?.abort({ code: 'STREAM_RESET', detail: 'given up' })
  }

  isOf(pod: ServedPod): boolean {
    return this.#source === pod || this.#target === pod
  }

  /** One of the two may have no such connection any more: the next one takes the tunnel. */
  forbid(): void {
    this.#inbound?.abort({ code: 'POLICY_CHANGED', detail: 'the way without a tunnel is closed to the pod' })
  }

  /** A handshake would not have been believed any more: what it made ends. */
  checkRevoked(): void {
    const { revoked } = this.#source.context
    if (!this.#credentials.some((credentials) => credentials.isRevoked(revoked))) return
    this.#inbound?.abort({ code: 'CERT_REVOKED', detail: REVOKED_DETAIL })
  }

  #release(): void {
    this.#source.context.sameNode.onClosed(this)
    for (const credentials of this.#credentials.splice(0)) credentials.release()
  }
}
