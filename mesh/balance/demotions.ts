// SPDX-License-Identifier: Apache-2.0
// Endpoints that have just failed somebody: passed over for a while, by everybody of a node, as long as others are there.
// Local evidence is there at once; what the controller says comes later.
import { MAX_DEMOTED, MAX_DEMOTION_MS, MIN_DEMOTION_MS, TRIAL_MS } from './limits.ts'

interface Demotion {
  readonly failures: number
  readonly untilMs: number
  /** Somebody tries it: until it is known how that went, nobody else does. */
  trialUntilMs: number
}

/** The key of a port of an endpoint: its uid, and the authority it is asked by (its port, without tunnel). */
export function endpointKey(uid: string, authority: string): string {
  return `${uid}|${authority}`
}

/** Failed endpoints by key. Time is an argument and never steps back. */
export class Demotions {
  readonly #byKey = new Map<string, Demotion>()
  /** Until then somebody is remembered. */
  #lastKnownMs = Number.NEGATIVE_INFINITY

  /** True when nobody has failed for so long that nothing has to be asked. */
  isQuiet(nowMs: number): boolean {
    return nowMs > this.#lastKnownMs
  }

  /** True when nobody is remembered to have failed. */
  get isEmpty(): boolean {
    return this.#byKey.size === 0
  }

  /**
   * It failed: out for a time that doubles with every failure in a row. What fails while it is out counts for nothing: it was
   * under way before, or was a guess. True when it was not out.
   */
  add(key: string, nowMs: number): boolean {
    if (this.isOut(key, nowMs)) return false
    const failures = (this.#byKey.get(key)?.failures ?? 0) + 1
    this.#byKey.delete(key) // moves to the end: the oldest goes first when there are too many
    const untilMs = nowMs + demotionMs(failures)
    this.#byKey.set(key, { failures, untilMs, trialUntilMs: Number.NEGATIVE_INFINITY })
    this.#lastKnownMs = Math.max(this.#lastKnownMs, untilMs + MAX_DEMOTION_MS)
    if (this.#byKey.size <= MAX_DEMOTED) return true
    const [oldest] = this.#byKey.keys()
    if (oldest !== undefined) this.#byKey.delete(oldest)
    return true
  }

  /** It served: forgiven. True when there was something to forgive. */
  forgive(key: string): boolean {
    return this.#byKey.delete(key)
  }

  /** True while it is passed over by everybody. */
  isOut(key: string, nowMs: number): boolean {
    return nowMs < (this.#byKey.get(key)?.untilMs ?? nowMs)
  }

  /**
   * True: it is passed over. False: who asks goes there; where it has failed before he is the one who tries it, and it is passed
   * over by the others meanwhile. When that fails it is one more in a row.
   */
  avoids(key: string, nowMs: number): boolean {
    const demotion = this.#byKey.get(key)
    if (demotion === undefined) return false
    if (nowMs < Math.max(demotion.untilMs, demotion.trialUntilMs)) return true
    // Not seen for as long again: whatever it was, it is over.
    if (nowMs > demotion.untilMs + MAX_DEMOTION_MS) this.#byKey.delete(key)
    else demotion.trialUntilMs = nowMs + TRIAL_MS
    return false
  }
}

function demotionMs(failures: number): number {
  return Math.min(MAX_DEMOTION_MS, MIN_DEMOTION_MS * 2 ** Math.min(failures - 1, 20))
}
