// SPDX-License-Identifier: Apache-2.0
// All objects as they are now, fed by one source, and the moment to translate them again: soon after a change, but not
// for every single one of a burst.
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import { type ConfigObject, type ConfigView, groupOf, kindKey, type ObjectRef } from './config-object.ts'
import type { ConfigSink } from './config-source.ts'
import type { SourceMistake } from './source-mistake.ts'

/** Quiet time after a change before it is told: what is applied together is translated together. */
const QUIET_MS = 50
/** A burst that does not end is told this long after its first change. */
const MAX_DELAY_MS = 250

/** Objects of one kind; `sorted` is made when it is asked for. */
interface Kind {
  readonly byName: Map<string, ConfigObject>
  sorted: readonly ConfigObject[] | null
}

/** State of the source, for people. */
export interface SourceState {
  readonly isSynced: boolean
  /** Why the source cannot be reached; null while it can. */
  readonly unreachable: string | null
  readonly mistakes: readonly SourceMistake[]
}

const nameKey = (namespace: string, name: string): string => `${namespace}/${name}`

/** What is known. Before the source has synced nobody is told anything: half a configuration opens what it closes. */
export class ConfigStore implements ConfigSink, ConfigView {
  readonly #clock: Clock
  readonly #onChange: () => void
  readonly #onMistakes: (all: readonly SourceMistake[]) => void
  readonly #kinds = new Map<string, Kind>()
  #state: SourceState = { isSynced: false, unreachable: null, mistakes: [] }
  #quiet: ClockTimer | null = null
  #firstChangeMs = 0

  /** `onChange` is called after the first sync and after every burst of changes, `onMistakes` with all there are. */
  constructor(
    clock: Clock,
    onChange: () => void,
    onMistakes: (all: readonly SourceMistake[]) => void = () => {},
  ) {
    this.#clock = clock
    this.#onChange = onChange
    this.#onMistakes = onMistakes
  }

  get state(): SourceState {
    return this.#state
  }

  /** Objects of all kinds. */
  get size(): number {
    return [...this.#kinds.values()].reduce((sum, { byName }) => sum + byName.size, 0)
  }

  list(key: string): readonly ConfigObject[] {
    const kind = this.#kinds.get(key)
    if (kind === undefined) return []
    kind.sorted ??= [...kind.byName]
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([, object]) => object)
    return kind.sorted
  }

  get(key: string, namespace: string, name: string): ConfigObject | undefined {
    return this.#kinds.get(key)?.byName.get(nameKey(namespace, name))
  }

  replace(key: string, objects: readonly ConfigObject[]): void {
    const before = this.#kinds.get(key)?.byName
    const byName = new Map<string, ConfigObject>()
    let hasChanged = objects.length !== (before?.size ?? 0)
    for (const object of objects) {
      const name = nameKey(object.metadata.namespace, object.metadata.name)
      // A list repeats what is known: keeping the object keeps everything that was made of it.
      const known = before?.get(name)
      const isSame = known !== undefined && isSameVersion(known, object)
      hasChanged ||= !isSame
      byName.set(name, isSame ? known : object)
    }
    this.#kinds.set(key, { byName, sorted: null })
    if (hasChanged) this.#changed()
  }

  apply(object: ConfigObject): void {
    const { apiVersion, kind: kindName, metadata } = object
    const kind = this.#kindOf(kindKey(groupOf(apiVersion), kindName))
    const name = nameKey(metadata.namespace, metadata.name)
    const known = kind.byName.get(name)
    if (known !== undefined && isSameVersion(known, object)) return
    kind.byName.set(name, object)
    kind.sorted = null
    this.#changed()
  }

  remove({ group, kind: kindName, namespace, name }: ObjectRef): void {
    const kind = this.#kindOf(kindKey(group, kindName))
    if (!kind.byName.delete(nameKey(namespace, name))) return
    kind.sorted = null
    this.#changed()
  }

  mistakes(all: readonly SourceMistake[]): void {
    this.#state = { ...this.#state, mistakes: all }
    this.#onMistakes(all)
  }

  synced(): void {
    if (this.#state.isSynced) return
    this.#state = { ...this.#state, isSynced: true }
    this.#tell()
  }

  reachable(detail: string | null): void {
    this.#state = { ...this.#state, unreachable: detail }
  }

  #kindOf(key: string): Kind {
    let kind = this.#kinds.get(key)
    if (kind === undefined) {
      kind = { byName: new Map(), sorted: null }
      this.#kinds.set(key, kind)
    }
    return kind
  }

  #changed(): void {
    if (!this.#state.isSynced) return
    const { passedMs } = this.#clock
    if (this.#quiet === null) this.#firstChangeMs = passedMs
    this.#quiet?.cancel()
    const delayMs = Math.max(0, Math.min(QUIET_MS, this.#firstChangeMs + MAX_DELAY_MS - passedMs))
    this.#quiet = this.#clock.startTimer(delayMs, () => this.#tell())
  }

  #tell(): void {
    this.#quiet?.cancel()
    this.#quiet = null
    this.#onChange()
  }
}

/** True when both are one version of one object; objects without versions are compared by identity. */
function isSameVersion(left: ConfigObject, right: ConfigObject): boolean {
  if (left === right) return true
  const { uid, resourceVersion } = left.metadata
  if (resourceVersion === '') return false
  return (
    resourceVersion === right.metadata.resourceVersion &&
    uid === right.metadata.uid &&
    left.apiVersion === right.apiVersion &&
    left.unread?.generation === right.unread?.generation
  )
}
