// SPDX-License-Identifier: Apache-2.0
// Says once that something cannot be saved, and once that it can be again.
import { MeshError } from '../errors/mesh-error.ts'
import type { Log } from '../runtime/log.ts'

export class SnapshotAlarm {
  readonly #what: string
  readonly #log: Log
  #isRaised = false

  /** `what` is what is saved, for the log. */
  constructor(what: string, log: Log) {
    this.#what = what
    this.#log = log
  }

  get isRaised(): boolean {
    return this.#isRaised
  }

  raise(err: unknown): void {
    if (this.#isRaised) return
    this.#isRaised = true
    const reason = err instanceof MeshError ? err.code : 'SNAPSHOT_NOT_SAVED'
    this.#log.error({ reason, what: this.#what, err }, 'the node cannot save what a cold start needs')
  }

  clear(): void {
    if (!this.#isRaised) return
    this.#isRaised = false
    this.#log.info({ what: this.#what }, 'the node saves again what a cold start needs')
  }
}
