// SPDX-License-Identifier: Apache-2.0
// Chooses the endpoint of a request: by nearness, then by the algorithm of the policy, among those in use. Pickers are made
// when somebody asks after a change; those that hold a table over all endpoints, only when the set itself changes.
import { hash32 } from '../../mesh/balance/hash.ts'
import type { KeyPicker } from '../../mesh/balance/key-picker.ts'
import { LeastLoaded } from '../../mesh/balance/least-loaded.ts'
import { Maglev } from '../../mesh/balance/maglev.ts'
import type { Pickable, Picker } from '../../mesh/balance/picker.ts'
import { rankShares } from '../../mesh/balance/rank-shares.ts'
import { RingHash } from '../../mesh/balance/ring-hash.ts'
import { roundRobin } from '../../mesh/balance/round-robin.ts'
import { WeightedChoice } from '../../mesh/balance/weighted-choice.ts'
import { isLessLoaded, type Load } from './endpoint-load.ts'
import type { BalancingSettings } from './upstream-settings.ts'

/** An endpoint, as it is chosen. */
export interface Balanced extends Pickable, Load {
  /** 0: the nearest. */
  readonly localityRank: number
  /** What it weighs once it is warm. */
  readonly weight: number
  /** What it weighs now: the balancer sets it. */
  capacity: number
  /** When it came; −Infinity: it is warm. */
  readonly sinceMs: number
  readonly isEjected: boolean
  readonly ip: string
}

/** What is known about the request. */
export interface PickFacts {
  /** null: it has no key. */
  readonly hash: string | null
  /** uids already tried: chosen again only when there is nobody else. */
  readonly exclude: ReadonlySet<string> | null
  /** Address of the endpoint that the caller named; null: it named the service. */
  readonly askedIp: string | null
}

/** A warming endpoint has at least this part of its weight. SPEC ENVOY SlowStartConfig.min_weight_percent. */
const MIN_WARM_SHARE = 0.1
/** While somebody warms up, weights are reckoned so many times. */
const WARM_STEPS = 20
const UINT32 = 2 ** 32

/** Endpoints that are equally near. */
interface Rank<T extends Balanced> {
  readonly all: readonly T[]
  /** In use. */
  healthy: readonly T[]
  /** Share of the traffic. */
  share: number
  picker: Picker<T> | null
  keyed: KeyPicker<T> | null
}

/** Stands for one set of endpoints and settings; `refresh` when an endpoint was ejected or comes back. */
export class Balancer<T extends Balanced> {
  readonly #settings: BalancingSettings
  readonly #random: () => number
  readonly #ranks: readonly Rank<T>[]
  /** Shares and pickers hold until then. */
  #validUntilMs = Number.NEGATIVE_INFINITY
  #usesAll = false
  /** Of the pick under way, for the comparison of two. */
  #nowMs = 0

  constructor(endpoints: readonly T[], settings: BalancingSettings, random: () => number) {
    this.#settings = settings
    this.#random = random
    const byRank = new Map<number, T[]>()
    for (const endpoint of endpoints) {
      if (!(endpoint.weight > 0)) continue
      const same = byRank.get(endpoint.localityRank)
      if (same === undefined) byRank.set(endpoint.localityRank, [endpoint])
      else same.push(endpoint)
    }
    this.#ranks = [...byRank.entries()]
      .sort(([a], [b]) => a - b)
      .map(([, all]) => ({ all, healthy: all, share: 0, picker: null, keyed: null }))
  }

  /** Who is ejected has changed. */
  refresh(): void {
    this.#validUntilMs = Number.NEGATIVE_INFINITY
  }

  /** null: there is nobody at all. */
  pick(facts: PickFacts, nowMs: number): T | null {
    if (nowMs >= this.#validUntilMs) this.#reckon(nowMs)
    if (this.#settings.algorithm === 'passthrough' && facts.askedIp !== null) {
      const asked = this.#withIp(facts.askedIp)
      if (asked !== null) return asked
    }
    const hash = facts.hash === null ? null : hash32(facts.hash)
    return (
      this.#pickUntried(hash, facts.exclude, nowMs) ??
      (facts.exclude === null ? null : this.#pickUntried(hash, null, nowMs))
    )
  }

  #pickUntried(hash: number | null, exclude: ReadonlySet<string> | null, nowMs: number): T | null {
    const drawn = this.#drawRank(hash)
    const first = drawn === null ? null : this.#pickIn(drawn, hash, exclude, nowMs)
    if (first !== null) return first
    for (const rank of this.#ranks) {
      const found = rank === drawn ? null : this.#pickIn(rank, hash, exclude, nowMs)
      if (found !== null) return found
    }
    return null
  }

  #drawRank(hash: number | null): Rank<T> | null {
    if (this.#ranks.length <= 1) return this.#ranks[0] ?? null
    let left = hash === null ? this.#random() : hash / UINT32
    for (const rank of this.#ranks) {
      left -= rank.share
      if (left < 0) return rank
    }
    return this.#ranks[0] ?? null
  }

  #pickIn(rank: Rank<T>, hash: number | null, exclude: ReadonlySet<string> | null, nowMs: number): T | null {
    const { algorithm, tableSize } = this.#settings
    if (hash !== null && (algorithm === 'ring-hash' || algorithm === 'maglev')) {
      rank.keyed ??=
        algorithm === 'maglev' ? new Maglev(rank.all, tableSize) : new RingHash(rank.all, tableSize)
      const usesAll = this.#usesAll
      return rank.keyed.pick(
        hash,
        ({ uid, isEjected }) => (isEjected && !usesAll) || exclude?.has(uid) === true,
      )
    }
    rank.picker ??= this.#makePicker(rank.healthy)
    this.#nowMs = nowMs
    return rank.picker.pick(exclude)
  }

  #makePicker(list: readonly T[]): Picker<T> {
    switch (this.#settings.algorithm) {
      case 'round-robin':
        return roundRobin(list, this.#random)
      case 'least-request':
        return new LeastLoaded(list, this.#random, (second, first) =>
          isLessLoaded(second, first, this.#nowMs),
        )
      default: // without a key, or an address that was asked for, any will do
        return new WeightedChoice(list, this.#random)
    }
  }

  /** Weights, who is in use, and shares of the ranks, as they are now. */
  #reckon(nowMs: number): void {
    let isWarming = false
    let [healthy, total] = [0, 0]
    for (const rank of this.#ranks) {
      for (const endpoint of rank.all) isWarming = this.#weigh(endpoint, nowMs) || isWarming
      rank.healthy = rank.all.filter(({ isEjected }) => !isEjected)
      rank.picker = null
      healthy += rank.healthy.length
      total += rank.all.length
    }
    // SPEC ISTIO-API minHealthPercent: with fewer it is better to use all than to overload those.
    this.#usesAll = healthy === 0 || 100 * healthy < this.#settings.minHealthPercent * total
    if (this.#usesAll) for (const rank of this.#ranks) rank.healthy = rank.all
    const shares = rankShares(
      this.#ranks.map(({ healthy, all }) => ({ healthy: healthy.length, total: all.length })),
    )
    this.#ranks.forEach((rank, index) => {
      rank.share = shares[index] ?? 0
    })
    this.#validUntilMs = isWarming ? nowMs + this.#settings.warmUpMs / WARM_STEPS : Number.POSITIVE_INFINITY
  }

  /** True while it warms up. SPEC ENVOY SlowStartConfig: who shares by turns or load; keys would move with the weights. */
  #weigh(endpoint: T, nowMs: number): boolean {
    const { warmUpMs, algorithm } = this.#settings
    const ageMs = nowMs - endpoint.sinceMs
    const canWarm = algorithm === 'round-robin' || algorithm === 'least-request'
    const isWarming = canWarm && ageMs < warmUpMs
    endpoint.capacity = isWarming
      ? endpoint.weight * Math.max(MIN_WARM_SHARE, ageMs / warmUpMs)
      : endpoint.weight
    return isWarming
  }

  #withIp(ip: string): T | null {
    for (const { all } of this.#ranks) for (const endpoint of all) if (endpoint.ip === ip) return endpoint
    return null
  }
}
