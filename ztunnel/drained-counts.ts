// SPDX-License-Identifier: Apache-2.0
// What generations that drain go on to count, in the metrics of the one that leads. Each tells what it has counted since it left
// the lead: what it had counted before was in its own metrics. While it drains it is asked; when it ends it leaves a file beside
// the admin socket, whoever leads then.
import { randomUUID } from 'node:crypto'
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Log } from '../mesh/runtime/log.ts'
import { type CountedSet, type CounterReader, setKey, setsSince } from '../mesh/telemetry/counters.ts'
import { askDraining } from './draining-generations.ts'

/** Label sets that one tells; what is beyond is told together. */
const MAX_TOLD_SETS = 2000

/** What a generation has counted since it left the lead. */
export interface CountsPage {
  /** Of its process, for all times. */
  readonly id: string
  readonly retiredMs: number
  readonly sets: readonly CountedSet[]
}

export interface DrainedCountsOptions {
  readonly adminSocket: string
  readonly counters: CounterReader
  /** When this process began: who retired later was before it. Wall clock. */
  readonly startedMs: number
  readonly nowMs: () => number
  readonly log: Log
}

/** Both sides of it: of the generation that leads, and of the one it becomes. */
export class DrainedCounts {
  readonly #options: DrainedCountsOptions
  readonly #id = randomUUID()
  #hasLed = false
  /** null: it leads, or waits to. */
  #retiredMs: number | null = null
  #atRetirement: ReadonlyMap<string, CountedSet> = new Map()
  /** By process: what others that led have shown of it. */
  readonly #shown = new Map<string, ReadonlyMap<string, CountedSet>>()
  #looking: Promise<void> | null = null

  constructor(options: DrainedCountsOptions) {
    this.#options = options
  }

  /** This one's metrics are the node's from now on. */
  onLead(): void {
    this.#hasLed = true
    this.#retiredMs = null
    void this.look() // those that drain since long have told others
  }

  /** They are another one's. One that comes to lead again shows all it has counted, as before. */
  onRetire(): void {
    this.#retiredMs = this.#options.nowMs()
    if (this.#hasLed) this.#atRetirement = this.#options.counters.own()
  }

  /** Another process leads, or is about to. */
  get isRetired(): boolean {
    return this.#retiredMs !== null
  }

  /** For the one that leads. */
  page(): CountsPage {
    const sets = setsSince(this.#options.counters.own(), this.#atRetirement)
    return { id: this.#id, retiredMs: this.#retiredMs ?? this.#options.nowMs(), sets: bounded(sets) }
  }

  /** This one ends: the last that it has counted. Of one that was never followed nobody asks. */
  async keep(): Promise<void> {
    if (this.#retiredMs === null) return
    const { adminSocket, log } = this.#options
    const path = `${endedPrefix(adminSocket)}${this.#id}`
    try {
      const fresh = `${adminSocket}.new-${this.#id}`
      await writeFile(fresh, JSON.stringify(this.page()), { mode: 0o600 })
      await rename(fresh, path)
    } catch (err) {
      log.warn({ err }, 'the last counts of this process are lost')
    }
  }

  /** Asks all that drain, and reads of those that have ended. Who does not answer is as it was. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  async #look(): Promise<void> {
    const { adminSocket } = this.#options
    // In this order: one that ends meanwhile has more in its file.
    for (const page of await askDraining(adminSocket, 'GET /counts')) this.#onPage(page)
    const directory = dirname(adminSocket)
    const prefix = basename(endedPrefix(adminSocket))
    for (const name of await readdir(directory).catch(() => [])) {
      if (!name.startsWith(prefix)) continue
      const path = join(directory, name)
      this.#onPage(
        await readFile(path, 'utf8')
          .then(JSON.parse)
          .catch(() => null),
      )
      await rm(path, { force: true })
    }
  }

  #onPage(answer: unknown): void {
    const page = parsePage(answer)
    if (page === null || page.id === this.#id) return
    const { counters, startedMs } = this.#options
    const now = new Map(page.sets.map((set) => [setKey(set.labels), set]))
    let shown = this.#shown.get(page.id)
    if (shown === undefined) {
      shown = page.retiredMs < startedMs ? now : new Map<string, CountedSet>()
      this.#shown.set(page.id, shown)
    }
    counters.adopt(page.id, setsSince(now, shown))
  }
}

function endedPrefix(adminSocket: string): string {
  return `${adminSocket}.counts-`
}

function bounded(sets: readonly CountedSet[]): readonly CountedSet[] {
  if (sets.length <= MAX_TOLD_SETS) return sets
  const rest = sets.slice(MAX_TOLD_SETS)
  const values = Array.from(rest[0]?.values ?? [], (_, metric) =>
    rest.reduce((sum, set) => sum + (set.values[metric] ?? 0), 0),
  )
  return [
    ...sets.slice(0, MAX_TOLD_SETS),
    { labels: { text: 'overflow="true"', edge: null, pod: '' }, values },
  ]
}

/** Null: of a version that tells no counts. */
function parsePage(answer: unknown): CountsPage | null {
  const page = answer as Partial<CountsPage> | null // as: of a process of ours, whichever version
  if (typeof page?.id !== 'string' || typeof page.retiredMs !== 'number' || !Array.isArray(page.sets))
    return null
  return page as CountsPage // as: looked at
}
