// SPDX-License-Identifier: Apache-2.0
// The data process's part in its replacement: an operator's wish goes to the supervisor, its answer comes back; what the
// supervisor says of the generations before this one is kept for the metrics.
import type { DataMessage, SupervisorMessage } from './pods.ts'

/** The supervisor answers within this: it only begins. */
const UPGRADE_ANSWER_TIMEOUT_MS = 2000

/** What the supervisor says of upgrades. */
export type UpgradeMessage = Extract<SupervisorMessage, { type: 'upgrade-answer' | 'generations' }>
/** Generations that drain, broke while they did, never came to serve. */
export type GenerationCounts = Pick<
  Extract<UpgradeMessage, { type: 'generations' }>,
  'draining' | 'lost' | 'failed'
>

export class Upgrades {
  counts: GenerationCounts = { draining: 0, lost: 0, failed: 0 }
  readonly #send: (message: DataMessage) => void
  /** In the order in which they asked, which is the one of the answers. */
  #waiting: Array<(refusal: string | null) => void> = []

  constructor(send: (message: DataMessage) => void) {
    this.#send = send
  }

  /** Wants the next generation: why it is not begun; null: it is. */
  ask(): Promise<string | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve('the supervisor does not answer'), UPGRADE_ANSWER_TIMEOUT_MS)
      this.#waiting.push((refusal) => {
        clearTimeout(timer)
        resolve(refusal)
      })
      this.#send({ type: 'upgrade' })
    })
  }

  onMessage(message: UpgradeMessage): void {
    if (message.type === 'upgrade-answer') this.#waiting.shift()?.(message.refusal)
    else this.counts = { draining: message.draining, lost: message.lost, failed: message.failed }
  }
}
