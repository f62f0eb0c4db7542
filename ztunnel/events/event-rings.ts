// SPDX-License-Identifier: Apache-2.0
// The last events of every pod, in memory. Connections that went well have a ring of their own, those that failed another one,
// and what happened to the pod itself a third: none of them pushes out another. When all together grow too large, the pod with
// the most gives way first, what went well before what failed: a noisy pod costs the others nothing of theirs. Pure.
import { isConnectionRecord, isGoodEnd, timeOf } from './event-line.ts'

/** Connections of a pod that went well, the last ones. */
export const MAX_GOOD_EVENTS = 50
/** Connections of a pod that failed or were refused, the last ones. */
export const MAX_FAILED_EVENTS = 50
/** What happened to a pod itself, the last of it: certificates, enrolment, redirection. */
export const MAX_CHANGE_EVENTS = 50
/** Text of all pods together that there is always room for. */
export const MIN_EVENTS_BYTES = 2 * 1024 * 1024
/** Room beside it for each pod: its failures, at a kilobyte each, and some more. */
export const POD_EVENTS_BYTES = 64 * 1024
/** Text of all pods together, however many there are; beyond what has room the pod with the most loses its oldest. */
export const MAX_EVENTS_BYTES = 16 * 1024 * 1024
/** Counted for each event and pod beside its text, so that short ones cannot be without number. */
const ENTRY_COST = 64

/** Lines by pod. */
export type EventLines = Readonly<Record<string, readonly string[]>>

/** One pod's. */
class PodRing {
  readonly #good: string[] = []
  readonly #failed: string[] = []
  readonly #changes: string[] = []
  byteCount = ENTRY_COST

  push(line: string): void {
    const [ring, limit] = isGoodEnd(line)
      ? [this.#good, MAX_GOOD_EVENTS]
      : isConnectionRecord(line)
        ? [this.#failed, MAX_FAILED_EVENTS]
        : [this.#changes, MAX_CHANGE_EVENTS]
    ring.push(line)
    this.byteCount += costOf(line)
    if (ring.length > limit) this.#shift(ring)
  }

  /** Lets go of the event that is missed least. */
  shed(): void {
    this.#shift([this.#good, this.#changes].find((ring) => ring.length > 0) ?? this.#failed)
  }

  get isEmpty(): boolean {
    return this.#good.length + this.#failed.length + this.#changes.length === 0
  }

  /** By time. */
  get lines(): readonly string[] {
    return [...this.#changes, ...this.#failed, ...this.#good].toSorted(byTime)
  }

  #shift(ring: string[]): void {
    const gone = ring.shift()
    if (gone !== undefined) this.byteCount -= costOf(gone)
  }
}

const costOf = (line: string): number => line.length + ENTRY_COST
const byTime = (left: string, right: string): number => {
  const [one, other] = [timeOf(left), timeOf(right)]
  return one < other ? -1 : one > other ? 1 : 0
}

/** All pods'. */
export class EventRings {
  readonly #pods = new Map<string, PodRing>()
  #byteCount = 0

  /** `pod` is `namespace/name`. */
  push(pod: string, line: string): void {
    let ring = this.#pods.get(pod)
    if (ring === undefined) {
      ring = new PodRing()
      this.#byteCount += ring.byteCount
      this.#pods.set(pod, ring)
    }
    this.#byteCount -= ring.byteCount
    ring.push(line)
    this.#byteCount += ring.byteCount
    while (this.#byteCount > this.#room) this.#shed()
  }

  /** Of the text that is kept. */
  get byteCount(): number {
    return this.#byteCount
  }

  /** The events of a pod, oldest first. */
  of(pod: string): readonly string[] {
    return this.#pods.get(pod)?.lines ?? []
  }

  /** All events, oldest first. */
  all(): EventLines {
    return Object.fromEntries([...this.#pods].map(([pod, ring]) => [pod, ring.lines]))
  }

  /** Puts events of another process among ours; those that are here already stay once. */
  merge(found: EventLines): void {
    for (const [pod, lines] of Object.entries(found)) {
      const known = new Set(this.of(pod))
      const added = lines.filter((line) => !known.has(line))
      if (added.length === 0) continue
      const before = this.#pods.get(pod)?.byteCount ?? 0
      this.#pods.delete(pod)
      this.#byteCount -= before
      for (const line of [...known, ...added].toSorted(byTime)) this.push(pod, line)
    }
  }

  get #room(): number {
    return Math.min(MAX_EVENTS_BYTES, MIN_EVENTS_BYTES + this.#pods.size * POD_EVENTS_BYTES)
  }

  #shed(): void {
    let [name, largest]: [string, PodRing | null] = ['', null]
    for (const [pod, ring] of this.#pods)
      if (largest === null || ring.byteCount > largest.byteCount) [name, largest] = [pod, ring]
    if (largest === null) return
    this.#byteCount -= largest.byteCount
    largest.shed()
    if (largest.isEmpty) this.#pods.delete(name)
    else this.#byteCount += largest.byteCount
  }
}
