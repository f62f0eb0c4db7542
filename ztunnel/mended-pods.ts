// SPDX-License-Identifier: Apache-2.0
// Pods whose redirection somebody had damaged: how many times, and when last. Until it was mended their traffic went round
// the mesh and left no record, so this is all that can be said of it.

/** Pods that are remembered: those of a large node. */
const MAX_MENDED_PODS = 1024

/** Of one process. */
export class MendedPods {
  /** Since the process began, all pods together. */
  count = 0
  readonly #atMs = new Map<string, number>()

  onMended(uid: string, nowMs: number): void {
    this.count++
    this.#atMs.delete(uid)
    this.#atMs.set(uid, nowMs)
    const [oldest] = this.#atMs.keys()
    if (this.#atMs.size > MAX_MENDED_PODS && oldest !== undefined) this.#atMs.delete(oldest)
  }

  /** When last, epoch ms, by uid of the pod. */
  get atMs(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#atMs)
  }
}
