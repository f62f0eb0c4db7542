// SPDX-License-Identifier: Apache-2.0
// A connection of a proven peer that has arrived at a pod of ours, on whatever way: decided by the pod's node, refused or
// carried to the application, recorded.

import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { SpiffeId } from '../../mesh/identity/spiffe.ts'
import { formatProxyHeader } from '../../mesh/net/proxy-header.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { decideInbound } from '../decide/inbound-decision.ts'
import type { Downstream } from './downstream.ts'
import { InboundConnection } from './inbound-connection.ts'
import type { ServedPod } from './served-pod.ts'
import type { ConnectionFacts } from './worker-context.ts'

/** What has arrived. */
export interface ProvenArrival {
  /** Of the authority. */
  readonly host: string
  readonly port: number
  /** The pod's address that was asked. */
  readonly localIp: string
  readonly client: SocketAddress
  /** What the client proved. */
  readonly identity: SpiffeId | null
  readonly identityText: string
  /** It says that a ztunnel has diverted it before. */
  readonly isDiverted: boolean
  readonly downstream: Downstream
  readonly facts: ConnectionFacts
}

/** Decides and carries it; null when it was refused. `onClosed` is called at the end of one that is carried. */
export function carryInbound(
  pod: ServedPod,
  arrival: ProvenArrival,
  onClosed: () => void = () => {},
): InboundConnection | null {
  const { host, port, localIp, client, identity, downstream, facts } = arrival
  const { onlyPort } = pod.info
  const { isDiverted } = arrival
  const request = { host, port, localIp, sourceIp: client.ip, identity, isDiverted, onlyPort }
  pod.lastVerdict = null
  const decision = decideInbound(pod.inbound, request, pod.evaluate)
  facts.policy = policyOf(pod)
  if (isRefusal(decision)) {
    downstream.refuse(decision)
    pod.context.closed(facts, decision, 0, 0)
    return null
  }
  const { dial, connection: authz, proxiedTo, entrance } = decision
  facts.destinationAddress = dial
  const proxyHeader = proxiedTo === null ? null : formatProxyHeader(client, proxiedTo, arrival.identityText)
  const allowed = { dial, authz, entrance, arrival: decision.arrival, client, proxyHeader }
  const connection = new InboundConnection(pod, downstream, allowed, facts, onClosed)
  connection.start()
  return connection
}

/** A call of its own: the decision has set what was null before it. */
function policyOf({ lastVerdict }: ServedPod): string {
  return lastVerdict?.policy ?? ''
}
