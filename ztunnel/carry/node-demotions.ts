// SPDX-License-Identifier: Apache-2.0
// Endpoints that have just failed somebody of this node: what one worker finds out all of them know. A worker tells only what
// is news to itself, and never what it was told: nothing goes round.
import { Demotions } from '../../mesh/balance/demotions.ts'
import { DEMOTIONS_TOLD_PER_SECOND } from '../../mesh/balance/limits.ts'
import { TokenBucket } from '../../mesh/runtime/token-bucket.ts'

/** News of an endpoint, by endpointKey; the same up to main and down to the other workers. */
export interface DemotionMessage {
  readonly type: 'endpoint-demoted' | 'endpoint-forgiven'
  readonly key: string
}

/** What one worker knows of them. Time is an argument. */
export class NodeDemotions {
  readonly known = new Demotions()
  readonly #tell: (message: DemotionMessage) => void
  readonly #told: TokenBucket

  constructor(nowMs: number, tell: (message: DemotionMessage) => void) {
    this.#tell = tell
    const perSecond = DEMOTIONS_TOLD_PER_SECOND
    this.#told = new TokenBucket({ capacity: perSecond, perSecond }, nowMs)
  }

  /** It failed a pod of this worker. */
  onFailed(key: string, nowMs: number): void {
    if (this.known.add(key, nowMs) && this.#told.take(nowMs)) this.#tell({ type: 'endpoint-demoted', key })
  }

  /** It served a pod of this worker. */
  onServed(key: string, nowMs: number): void {
    if (this.known.forgive(key) && this.#told.take(nowMs)) this.#tell({ type: 'endpoint-forgiven', key })
  }

  /** Another worker has found out. */
  onTold({ type, key }: DemotionMessage, nowMs: number): void {
    if (type === 'endpoint-demoted') this.known.add(key, nowMs)
    else this.known.forgive(key)
  }
}
