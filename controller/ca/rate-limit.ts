// SPDX-License-Identifier: Apache-2.0
// How often one node may ask for certificates, and one address may fail to say who it is. Bounded memory: who was quiet
// is forgotten, and when all are busy newcomers share one bucket.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { TokenBucket, type TokenBucketOptions } from '../../mesh/runtime/token-bucket.ts'

/** Certificates one node may get at once: its pods after a restart of the node (110 is the kubelet's default). */
export const NODE_BURST = 250
/** Certificates per second for one node from then on: ten times what 250 pods with one-hour leaves need. */
export const NODE_PER_SECOND = 2
/** Failures one address may cause at once: a fleet behind one NAT that has just been given a wrong token. */
export const FAILURE_BURST = 50
/** Failures per second for one address from then on; more are answered without looking at the token. */
export const FAILURE_PER_SECOND = 1
/** Nodes or addresses that are counted apart. */
export const MAX_RATE_KEYS = 8_192

export const NODE_RATE: TokenBucketOptions = { capacity: NODE_BURST, perSecond: NODE_PER_SECOND }
export const FAILURE_RATE: TokenBucketOptions = { capacity: FAILURE_BURST, perSecond: FAILURE_PER_SECOND }

/** One rate for each of many keys. */
export class RateLimit {
  readonly #options: TokenBucketOptions
  readonly #buckets = new Map<string, TokenBucket>()
  readonly #maxKeys: number

  constructor(options: TokenBucketOptions, maxKeys = MAX_RATE_KEYS) {
    this.#options = options
    this.#maxKeys = maxKeys
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#buckets.size
  }

  /** Counts one; a refusal when that was one too many. */
  take(key: string, nowMs: number): Refusal | undefined {
    return this.#bucket(key, nowMs).take(nowMs) ? undefined : tooMany()
  }

  /** As take(), but counts nothing. */
  look(key: string, nowMs: number): Refusal | undefined {
    const bucket = this.#buckets.get(this.#keyOf(key))
    return bucket === undefined || bucket.hasToken(nowMs) ? undefined : tooMany()
  }

  #bucket(key: string, nowMs: number): TokenBucket {
    const known = this.#buckets.get(key)
    if (known !== undefined) return known
    if (this.#buckets.size >= this.#maxKeys) this.#forgetQuiet(nowMs)
    const place = this.#keyOf(key)
    const shared = this.#buckets.get(place)
    if (shared !== undefined) return shared
    const bucket = new TokenBucket(this.#options, nowMs)
    this.#buckets.set(place, bucket)
    return bucket
  }

  /** '' is the bucket of all that found no room of their own. */
  #keyOf(key: string): string {
    return this.#buckets.has(key) || this.#buckets.size < this.#maxKeys ? key : ''
  }

  #forgetQuiet(nowMs: number): void {
    for (const [key, bucket] of this.#buckets) if (bucket.isFull(nowMs)) this.#buckets.delete(key)
  }
}

function tooMany(): Refusal {
  return refuse('LIMIT_NODE', 'too many requests: try again later')
}
