// SPDX-License-Identifier: Apache-2.0
// Who of a worker may be connected without a tunnel, and who is.
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { Members } from '../../mesh/runtime/members.ts'
import type { OutboundDecision, TunnelDecision } from '../decide/outbound-decision.ts'
import { SameNodeConnect, type SameNodeOwner, sameNodeTarget } from './same-node.ts'
import type { ServedPod } from './served-pod.ts'

/** The pods of one worker that opted in, by the uid of their workload, and the connections between them. */
export class SameNodePods {
  readonly #pods = new Map<string, ServedPod>()
  readonly #open = new Members<SameNodeConnect>()

  /** The pod has another configuration; null: none any more. */
  configure(pod: ServedPod, uid: string | null): void {
    for (const [known, other] of this.#pods) if (other === pod && known !== uid) this.#pods.delete(known)
    if (uid !== null) this.#pods.set(uid, pod)
  }

  /** The pod that a connection can be handed to; null: it takes the way of the decision. */
  targetOf(source: ServedPod, decision: OutboundDecision, client: SocketAddress): ServedPod | null {
    return sameNodeTarget(source, decision, client)
  }

  /** Hands a connection to `target`, which targetOf gave in this turn. */
  connect(
    source: ServedPod,
    target: ServedPod,
    decision: TunnelDecision,
    client: SocketAddress,
    owner: SameNodeOwner,
  ): Cancellable {
    return new SameNodeConnect(source, target, decision, client, owner)
  }

  get(uid: string): ServedPod | undefined {
    return this.#pods.get(uid)
  }

  /** Its certificates count as long as it is open. */
  onOpened(connect: SameNodeConnect): void {
    this.#open.add(connect)
  }

  onClosed(connect: SameNodeConnect): void {
    this.#open.delete(connect)
  }

  /** A pod may not be joined without a tunnel any more: strict, selected by a NetworkPolicy, opted out. */
  onForbidden(pod: ServedPod): void {
    for (const connect of this.#open) if (connect.isOf(pod)) connect.forbid()
  }

  /** Other certificates are revoked than before. */
  onRevoked(): void {
    for (const connect of this.#open) connect.checkRevoked()
  }
}
