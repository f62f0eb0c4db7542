// SPDX-License-Identifier: Apache-2.0
// Which statuses are to be written now, in which order, and which have to wait: what changed last comes first, new words
// without a new fact come last and seldom, what was refused is not asked again and again. No I/O.
import { type ConfigView, kindKey, refKey } from '../watch/config-object.ts'
import { mergeStatus, type StatusChange } from './merge-status.ts'
import type { StatusPatch } from './status-patch.ts'

export const FACT_INTERVAL_MS = 1_000 // between two writes of one object
export const MAX_REWRITE_DOUBLINGS = 8 // of that, for one who takes away what we say again and again: four minutes
export const WORDS_INTERVAL_MS = 30_000 // the same when only the message differs: counts change with every pod
export const MAX_PLANNED_STATUSES = 1_000 // of one plan: what is beyond comes with the next

/** One write that is due. */
export interface PlannedStatus {
  readonly key: string
  readonly patch: StatusPatch
  /** The resourceVersion on which it was planned. */
  readonly seenVersion: string
}

/** What is to be done. */
export interface StatusPlan {
  readonly due: readonly PlannedStatus[]
  /** What is not as it should be, due or not: texts of refKey(). */
  readonly pending: ReadonlySet<string>
  /** Until the next one is due; null: none waits. */
  readonly waitMs: number | null
}

/** What is remembered of one object. */
interface Memory {
  text: string
  changedAtMs: number
  /** The version in our view when it was planned: until the view moves on, what we see is older than our write. */
  writtenOver: string | null
  notBeforeMs: number
  lastWriteMs: number
  /** How often the same had to be written again. */
  rewrites: number
}

export class StatusPlanner {
  readonly #memories = new Map<string, Memory>()

  /** `patches` is everything there is; what is not in it is forgotten. `nowMs` never steps back. */
  plan(patches: readonly StatusPatch[], view: ConfigView, nowMs: number): StatusPlan {
    const seen = new Set<string>()
    const due: (PlannedStatus & { readonly change: StatusChange; readonly changedAtMs: number })[] = []
    const pending = new Set<string>()
    let waitMs: number | null = null
    for (const patch of patches) {
      const key = `${refKey(patch.object)} ${patch.uid}`
      seen.add(key)
      const memory = this.#remember(key, patch, nowMs)
      const { group, kind, namespace, name } = patch.object
      const object = view.get(kindKey(group, kind), namespace, name)
      if (object === undefined || object.metadata.uid !== patch.uid) continue
      const { change } = mergeStatus(object.status, patch, nowMs)
      const seenVersion = object.metadata.resourceVersion
      if (change === 'none' || memory.writtenOver === seenVersion) continue
      pending.add(refKey(patch.object))
      const patienceMs = FACT_INTERVAL_MS * 2 ** Math.min(memory.rewrites, MAX_REWRITE_DOUBLINGS)
      const intervalMs = change === 'facts' ? patienceMs : Math.max(patienceMs, WORDS_INTERVAL_MS)
      const dueMs = Math.max(memory.notBeforeMs, memory.lastWriteMs + intervalMs)
      if (dueMs <= nowMs) due.push({ key, patch, seenVersion, change, changedAtMs: memory.changedAtMs })
      else waitMs = Math.min(waitMs ?? Number.POSITIVE_INFINITY, dueMs - nowMs)
    }
    for (const key of this.#memories.keys()) if (!seen.has(key)) this.#memories.delete(key)
    due.sort((left, right) => rank(left.change) - rank(right.change) || right.changedAtMs - left.changedAtMs)
    return { due: due.slice(0, MAX_PLANNED_STATUSES), pending, waitMs }
  }

  /** It says what it should, by us or without us. */
  done({ key, seenVersion }: PlannedStatus, nowMs: number): void {
    const memory = this.#memories.get(key)
    if (memory === undefined) return
    if (memory.writtenOver !== null) memory.rewrites++
    memory.writtenOver = seenVersion
    memory.lastWriteMs = nowMs
  }

  /** It is left alone for so long, unless it is to say something else. */
  failed({ key }: PlannedStatus, nowMs: number, retryMs: number): void {
    const memory = this.#memories.get(key)
    if (memory !== undefined) memory.notBeforeMs = nowMs + retryMs
  }

  /** Objects that are remembered. */
  get size(): number {
    return this.#memories.size
  }

  #remember(key: string, patch: StatusPatch, nowMs: number): Memory {
    const text = JSON.stringify(patch)
    const known = this.#memories.get(key)
    if (known?.text === text) return known
    const lastWriteMs = known?.lastWriteMs ?? Number.NEGATIVE_INFINITY
    const memory: Memory = {
      ...{ text, changedAtMs: nowMs, writtenOver: null, notBeforeMs: 0, lastWriteMs, rewrites: 0 },
    }
    this.#memories.set(key, memory)
    return memory
  }
}

function rank(change: StatusChange): number {
  return change === 'facts' ? 0 : 1
}
