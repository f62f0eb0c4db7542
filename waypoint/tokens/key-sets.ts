// SPDX-License-Identifier: Apache-2.0
// Key sets by address. Who has none waits for the one fetch under way; who has one uses it while it is fetched anew, and for a
// while when that fails. A key that a set lacks has it fetched anew, at most every KEY_UNKNOWN_MS.
import type { JSONWebKeySet } from 'jose'
import type { Clock } from '../../mesh/runtime/clock.ts'
import {
  KEY_FETCH_TIMEOUT_MS,
  KEY_REFRESH_MS,
  KEY_RETRY_MS,
  KEY_STALE_MS,
  KEY_UNKNOWN_MS,
  MAX_KEY_SETS,
} from './limits.ts'

/** Fetches a set, or throws why not. */
export type FetchKeys = (url: string, timeoutMs: number) => Promise<JSONWebKeySet>

interface Entry {
  set: JSONWebKeySet | null
  /** When `set` was fetched. */
  fetchedMs: number
  /** When the last fetch began. */
  triedMs: number
  pending: Promise<JSONWebKeySet> | null
  failure: unknown
}

export class KeySets {
  readonly #fetch: FetchKeys
  readonly #clock: Clock
  /** The one used longest ago first. */
  readonly #entries = new Map<string, Entry>()

  constructor(fetch: FetchKeys, clock: Clock) {
    this.#fetch = fetch
    this.#clock = clock
  }

  /**
   * The set of an address. `timeoutMs` 0: as usual.
   * @throws MeshError JWT_UNVERIFIABLE when there is none that may still be used.
   */
  async get(url: string, timeoutMs: number): Promise<JSONWebKeySet> {
    const entry = this.#entry(url)
    const { passedMs: nowMs } = this.#clock
    const { set, fetchedMs, triedMs } = entry
    const isUsable = set !== null && nowMs - fetchedMs < KEY_STALE_MS
    const isDue = set === null || nowMs - fetchedMs >= KEY_REFRESH_MS
    const mayTry = entry.pending !== null || entry.failure === null || nowMs - triedMs >= KEY_RETRY_MS
    if (isUsable) {
      if (isDue && mayTry) this.#refresh(url, entry, timeoutMs).catch(() => {}) // told when nothing is left
      return set
    }
    if (!mayTry) throw entry.failure
    return this.#refresh(url, entry, timeoutMs)
  }

  /** The set as it is now, for a token whose key `known` lacks; null: there is no newer one yet. */
  async getNewer(url: string, timeoutMs: number, known: JSONWebKeySet): Promise<JSONWebKeySet | null> {
    const entry = this.#entry(url)
    if (entry.set !== null && entry.set !== known) return entry.set
    const mayTry = entry.pending !== null || this.#clock.passedMs - entry.triedMs >= KEY_UNKNOWN_MS
    if (!mayTry) return null
    try {
      return await this.#refresh(url, entry, timeoutMs)
    } catch {
      return null // the set at hand is what can be had
    }
  }

  #refresh(url: string, entry: Entry, timeoutMs: number): Promise<JSONWebKeySet> {
    if (entry.pending !== null) return entry.pending
    entry.triedMs = this.#clock.passedMs
    entry.pending = this.#fetch(url, timeoutMs === 0 ? KEY_FETCH_TIMEOUT_MS : timeoutMs)
      .then((set) => {
        Object.assign(entry, { set, fetchedMs: this.#clock.passedMs, failure: null })
        return set
      })
      .catch((error: unknown) => {
        entry.failure = error
        throw error
      })
      .finally(() => {
        entry.pending = null
      })
    return entry.pending
  }

  #entry(url: string): Entry {
    const entry = this.#entries.get(url) ?? {
      ...{ set: null, fetchedMs: 0, triedMs: Number.NEGATIVE_INFINITY, pending: null, failure: null },
    }
    this.#entries.delete(url)
    this.#entries.set(url, entry)
    const [oldest] = this.#entries.keys()
    if (this.#entries.size > MAX_KEY_SETS && oldest !== undefined) this.#entries.delete(oldest)
    return entry
  }
}
