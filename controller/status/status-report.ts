// SPDX-License-Identifier: Apache-2.0
// What admin says of statuses: what is wanted, what became of it, what failed and why. No I/O.
import type { MeshError } from '../../mesh/errors/mesh-error.ts'
import { refKey } from '../watch/config-object.ts'
import type { StatusPatch } from './status-patch.ts'
import type { PlannedStatus } from './status-plan.ts'
import type { WriteOutcome } from './status-writer.ts'

export const MAX_TOLD_FAILURES = 100 // of statuses, in admin: the first say what is wrong with the rest
const MAX_TOLD_WRITES = 20 // the latest; counts have them all

interface ToldWrite {
  readonly object: string
  readonly outcome: WriteOutcome
  readonly atMs: number
}

interface ToldFailure {
  readonly object: string
  readonly reason: string
  readonly detail: string
  readonly atMs: number
  /** It is left alone for so long. */
  readonly retryMs: number
}

export class StatusReport {
  readonly #counts = { written: 0, equal: 0, gone: 0, outdated: 0, fenced: 0, failed: 0 }
  readonly #failures = new Map<string, ToldFailure>()
  #writes: readonly ToldWrite[] = []
  #patches: readonly StatusPatch[] = []
  #pending = 0

  /** What is wanted, and what of it is not so yet: texts of refKey(). */
  planned(patches: readonly StatusPatch[], pending: ReadonlySet<string>): void {
    this.#patches = patches
    this.#pending = pending.size
    // What is as it should be, by whomever, or gone, has not failed.
    for (const key of this.#failures.keys()) if (!pending.has(key)) this.#failures.delete(key)
  }

  ended({ patch }: PlannedStatus, outcome: WriteOutcome, atMs: number): void {
    const object = refKey(patch.object)
    this.#counts[outcome]++
    if (outcome !== 'fenced') this.#failures.delete(object)
    this.#writes = [...this.#writes, { object, outcome, atMs }].slice(-MAX_TOLD_WRITES)
  }

  failed({ patch }: PlannedStatus, { code, detail }: MeshError, atMs: number, retryMs: number): void {
    const object = refKey(patch.object)
    this.#counts.failed++
    if (this.#failures.has(object) || this.#failures.size < MAX_TOLD_FAILURES)
      this.#failures.set(object, { object, reason: code, detail, atMs, retryMs })
  }

  /** For JSON. */
  read(): object {
    return {
      pending: this.#pending,
      counts: { ...this.#counts },
      failures: [...this.#failures.values()],
      recent: this.#writes,
      wanted: this.#patches.map(({ object, generation, conditions, gateway, parents }) => ({
        ...{ object: refKey(object), generation, conditions },
        ...(gateway === null ? {} : { gateway }),
        ...(parents === null ? {} : { parents }),
      })),
    }
  }
}
