// SPDX-License-Identifier: Apache-2.0
// Pods whose resolver does not answer: the last failure of each, until it answers again. Questions have no records, so this
// is all that can be said of one that went nowhere.
import type { ReasonCode } from '../mesh/errors/reasons.ts'

/** A question that nobody answered. `timeMs` is epoch ms. */
export interface DnsFailure {
  readonly timeMs: number
  readonly code: ReasonCode
  readonly detail: string
}

/** Pods that are remembered: those of a large node. */
const MAX_FAILING_PODS = 1024

/** Of one process. */
export class DnsFailures {
  readonly #last = new Map<string, DnsFailure>()

  onFailed(uid: string, { timeMs, code, detail }: DnsFailure): void {
    this.#last.delete(uid)
    this.#last.set(uid, { timeMs, code, detail })
    const [oldest] = this.#last.keys()
    if (this.#last.size > MAX_FAILING_PODS && oldest !== undefined) this.#last.delete(oldest)
  }

  /** The resolver of the pod has answered, to whichever worker. */
  onRecovered(uid: string): void {
    this.#last.delete(uid)
  }

  /** By uid of the pod. */
  get byPod(): Readonly<Record<string, DnsFailure>> {
    return Object.fromEntries(this.#last)
  }
}
