// SPDX-License-Identifier: Apache-2.0
// Port 15006 of a pod: connections that arrive in plaintext, from outside the mesh.

import { isRefusal, refuse } from '../../mesh/errors/refusal.ts'
import type { SocketAddress } from '../../mesh/net/address.ts'
import { localAddress, originalDestination, peerAddress } from '../../mesh/reactor/socket-options.ts'
import { TcpDownstream } from '../carry/downstream.ts'
import { InboundConnection } from '../carry/inbound-connection.ts'
import type { ServedPod } from '../carry/served-pod.ts'
import { ConnectionFacts } from '../carry/worker-context.ts'
import { decidePassthrough } from '../decide/passthrough-decision.ts'

/** Takes one accepted connection. */
export function acceptPassthrough(pod: ServedPod, fd: number): void {
  const { context } = pod
  const client = peerAddress(fd) ?? { ip: '0.0.0.0', port: 0 }
  const destination = originalDestination(fd, client.ip) ?? localAddress(fd) ?? { ip: '0.0.0.0', port: 0 }
  const downstream = new TcpDownstream(context.reactor, fd, pod.share)
  const onClosed = (): void => context.share.released('stream')
  const { facts, decision } = decideFor(pod, client, destination)
  if (isRefusal(decision)) {
    downstream.refuse()
    context.closed(facts, decision, 0, 0)
    onClosed()
    return
  }
  const { dial, connection: authz, entrance, arrival } = decision
  const allowed = { dial, authz, entrance, arrival, client, proxyHeader: null }
  new InboundConnection(pod, downstream, allowed, facts, onClosed).start()
}

/** A connection that the guard has refused on the node: it gets the record it would have had here. */
export function recordGuardRefusal(pod: ServedPod, client: SocketAddress, destination: SocketAddress): void {
  const { facts, decision } = decideFor(pod, client, destination)
  // Allowed: the policies have changed since.
  const refusal = isRefusal(decision) ? decision : refuse('PLAINTEXT_REFUSED', 'by policies that are gone')
  pod.context.closed(facts, refusal, 0, 0)
}

function decideFor(pod: ServedPod, client: SocketAddress, destination: SocketAddress) {
  const facts = new ConnectionFacts('inbound', pod, pod.context.reactor.nowMs, client)
  facts.destinationAddress = destination
  facts.destination = pod.inbound?.workload ?? null
  facts.trace = pod.context.traces?.begin('') ?? null
  pod.lastVerdict = null
  const decision = decidePassthrough(pod.inbound, destination, client.ip, pod.evaluate)
  facts.policy = pod.lastVerdict === null ? '' : policyOf(pod)
  return { facts, decision }
}

function policyOf(pod: ServedPod): string {
  return pod.lastVerdict?.policy ?? ''
}
