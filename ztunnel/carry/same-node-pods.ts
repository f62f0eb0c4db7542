// SPDX-License-Identifier: Apache-2.0
// Who of a worker may be connected without a tunnel, and who is.
import type { SameNodeConnect } from './same-node.ts'
import type { ServedPod } from './served-pod.ts'

/** The pods of one worker that opted in, by the uid of their workload, and the connections between them. */
export class SameNodePods {
  readonly #pods = new Map<string, ServedPod>()
  readonly #open = new Set<SameNodeConnect>()

  /** The pod has another configuration; null: none any more. */
  configure(pod: ServedPod, uid: string | null): void {
    for (const [known, other] of this.#pods) if (other === pod && known !== uid) this.#pods.delete(known)
    if (uid !== null) this.#pods.set(uid, pod)
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

  /** Other certificates are revoked than before. */
  onRevoked(): void {
    for (const connect of [...this.#open]) connect.checkRevoked()
  }
}
