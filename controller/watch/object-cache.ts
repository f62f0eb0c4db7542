// SPDX-License-Identifier: Apache-2.0
// The objects of one kind that a source has read: the last good version of each, and what is wrong with those that
// broke. For sources that hear of single objects. Pure.
import { admitObject } from './admit-object.ts'
import { type ConfigObject, type ObjectRef, refOf } from './config-object.ts'
import type { WatchedKind } from './kinds.ts'
import type { SourceMistake } from './source-mistake.ts'
import { formatPath, isMap, own, type ValueMistake } from './value-mistakes.ts'

const MAX_BROKEN_OBJECTS = 200 // of one kind, of which is told what is wrong with them

/** A value and the name by which the source knows it: `shop/cart`, `/node1`. */
export interface NamedValue {
  readonly key: string
  readonly value: unknown
}

export class ObjectCache {
  readonly #kind: WatchedKind
  #good = new Map<string, ConfigObject>()
  /** In force only because there was no good version yet. */
  #closing = new Map<string, ConfigObject>()
  #mistakes = new Map<string, readonly SourceMistake[]>()

  constructor(kind: WatchedKind) {
    this.#kind = kind
  }

  /** What is to be said of all objects. */
  get mistakes(): readonly SourceMistake[] {
    return [...this.#mistakes.values()].flat()
  }

  get size(): number {
    return this.#good.size + this.#closing.size
  }

  has(key: string): boolean {
    return this.#good.has(key) || this.#closing.has(key)
  }

  /** Takes a complete list; returns what is in force. */
  replace(values: Iterable<NamedValue>): ConfigObject[] {
    const list = new ObjectCache(this.#kind)
    for (const { key, value } of values) list.#admit(key, value, this.#good.get(key))
    this.#good = list.#good
    this.#closing = list.#closing
    this.#mistakes = list.#mistakes
    return [...this.#good.values(), ...this.#closing.values()]
  }

  /** Takes one object; returns what of it is to be put in force, null when all stays as it is. */
  put(key: string, value: unknown): ConfigObject | null {
    const before = this.#good.get(key)
    this.#admit(key, value, before)
    const now = this.#good.get(key) ?? this.#closing.get(key) ?? null
    return now === before ? null : now
  }

  /** Forgets one object; returns its name if it was in force. */
  remove(key: string): ObjectRef | null {
    const object = this.#good.get(key) ?? this.#closing.get(key)
    this.#good.delete(key)
    this.#closing.delete(key)
    this.#mistakes.delete(key)
    return object === undefined ? null : refOf(object)
  }

  #admit(key: string, value: unknown, before: ConfigObject | undefined): void {
    const admission = admitObject(value, null)
    const mistakes = admission.mistakes.map((each) => this.#tell(key, each))
    this.#mistakes.delete(key)
    this.#closing.delete(key)
    const object = admission.verdict === 'good' ? admission.object : undefined
    const isOurs = object !== undefined && nameKey(object) === key && object.kind === this.#kind.kind
    if (object !== undefined && !isOurs) {
      const message = 'the object has another kind or name than its place'
      mistakes.push(this.#tell(key, { severity: 'error', path: [], message, suggestion: '' }))
    }
    if (mistakes.length > 0 && this.#mistakes.size < MAX_BROKEN_OBJECTS) this.#mistakes.set(key, mistakes)
    if (isOurs) this.#good.set(key, object)
    else if (before !== undefined) this.#good.set(key, held(before, value, mistakes))
    else if (admission.verdict === 'broken' && admission.closing !== null) {
      if (nameKey(admission.closing) === key) this.#closing.set(key, admission.closing)
    }
  }

  // Without a file the message says which object it is.
  #tell(key: string, { severity, path, message, suggestion }: ValueMistake): SourceMistake {
    const name = `${this.#kind.kind} ${key.replace(/^\//, '').slice(0, 320)}`
    return { severity, origin: null, path: formatPath(path), message: `${name}: ${message}`, suggestion }
  }
}

/** The last good version, with what is to be said about the one that should have replaced it. */
function held(before: ConfigObject, value: unknown, mistakes: readonly SourceMistake[]): ConfigObject {
  const metadata = isMap(value) ? own(value, 'metadata') : undefined
  const generation = isMap(metadata) ? own(metadata, 'generation') : undefined
  const error = mistakes.find(({ severity }) => severity === 'error')
  if (typeof generation !== 'number' || error === undefined) return before
  if (before.unread?.generation === generation) return before
  const why = error.path === '' ? error.message : `${error.message} at ${error.path}`
  return { ...before, unread: { generation, why } }
}

/** The name of an object within its kind, as NamedValue has it. */
export function nameKey({ metadata }: ConfigObject): string {
  return `${metadata.namespace}/${metadata.name}`
}
