// SPDX-License-Identifier: Apache-2.0
// How long a version of the model takes from its receipt until every worker decides by it. Versions follow each other
// faster than workers confirm: the newest counts.

/** The newest version that is in force everywhere, and how it got there. */
export interface ModelInForce {
  readonly version: number
  /** From the receipt of what made it until the last worker said that it decides by it. */
  readonly totalMs: number
  /** The part of it until the model was built and everything was sent to the workers. */
  readonly sentMs: number
}

interface Pending {
  readonly version: number
  readonly receivedMs: number
  readonly sentMs: number
  readonly waiting: Set<number>
}

/** Follows versions. Times are epoch ms. */
export class ModelProgress {
  #pending: Pending[] = []
  /** null before the first. */
  inForce: ModelInForce | null = null

  /** A version was sent to the workers `sentMs`. */
  onSent(version: number, receivedMs: number, sentMs: number, workerCount: number): void {
    const waiting = new Set(Array.from({ length: workerCount }, (_, worker) => worker))
    this.#pending.push({ version, receivedMs, sentMs, waiting })
  }

  /** A worker decides by this version. */
  onWorker(worker: number, version: number, nowMs: number): void {
    // Messages keep their order: who has this version passed all before it.
    for (const each of this.#pending) if (each.version <= version) each.waiting.delete(worker)
    const done = this.#pending.findLast(({ waiting }) => waiting.size === 0)
    if (done === undefined) return
    this.#pending = this.#pending.filter((each) => each.version > done.version)
    const { receivedMs, sentMs } = done
    this.inForce = { version: done.version, totalMs: nowMs - receivedMs, sentMs: sentMs - receivedMs }
  }
}
