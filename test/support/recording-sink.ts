// SPDX-License-Identifier: Apache-2.0
// Hears a source of configuration and remembers: what there is now, and what was said in which order.
import {
  type ConfigObject,
  groupOf,
  kindKey,
  type ObjectRef,
  refKey,
  refOf,
} from '../../controller/watch/config-object.ts'
import type { ConfigSink } from '../../controller/watch/config-source.ts'
import type { SourceMistake } from '../../controller/watch/source-mistake.ts'

const WAIT_MS = 20_000 // a source that is slower is broken

/** One call in one line: `replace Service 2`, `apply Service/shop/cart`, `synced` … */
export class RecordingSink implements ConfigSink {
  readonly calls: string[] = []
  readonly objects = new Map<string, ConfigObject>()
  told: readonly SourceMistake[] = []
  unreachable: string | null = null
  syncedCount = 0
  readonly #waiting = new Set<() => void>()

  replace(kind: string, objects: readonly ConfigObject[]): void {
    for (const [key, { apiVersion, kind: name }] of this.objects) {
      if (kindKey(groupOf(apiVersion), name) === kind) this.objects.delete(key)
    }
    for (const object of objects) this.objects.set(keyOf(refOf(object)), object)
    this.#heard(`replace ${kind} ${objects.length}`)
  }

  apply(object: ConfigObject): void {
    const key = keyOf(refOf(object))
    this.objects.set(key, object)
    this.#heard(`apply ${key}`)
  }

  remove(ref: ObjectRef): void {
    this.objects.delete(keyOf(ref))
    this.#heard(`remove ${keyOf(ref)}`)
  }

  mistakes(all: readonly SourceMistake[]): void {
    this.told = all
    this.#heard(`mistakes ${all.length}`)
  }

  synced(): void {
    this.syncedCount++
    this.#heard('synced')
  }

  reachable(detail: string | null): void {
    this.unreachable = detail
    this.#heard(detail === null ? 'reachable' : 'unreachable')
  }

  /** `Service/shop/cart` of every object of these kinds, sorted. */
  names(...kinds: readonly string[]): string[] {
    return [...this.objects.values()]
      .filter(({ kind }) => kinds.length === 0 || kinds.includes(kind))
      .map(({ kind, metadata }) => `${kind}/${metadata.namespace}/${metadata.name}`)
      .toSorted()
  }

  object(kind: string, namespace: string, name: string): ConfigObject | undefined {
    return [...this.objects.values()].find(({ kind: each, metadata }) => {
      return each === kind && metadata.namespace === namespace && metadata.name === name
    })
  }

  /** Resolves once `isTrue` holds, which is looked at after every call. @throws Error after 20 s */
  async until(what: string, isTrue: () => boolean): Promise<void> {
    if (isTrue()) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const look = (): void => {
      if (isTrue()) resolve()
    }
    this.#waiting.add(look)
    const timer = setTimeout(() => reject(new Error(`not heard: ${what}; calls: ${this.#tail()}`)), WAIT_MS)
    await promise.finally(() => {
      clearTimeout(timer)
      this.#waiting.delete(look)
    })
  }

  #tail(): string {
    return this.calls.slice(-20).join(', ')
  }

  #heard(call: string): void {
    this.calls.push(call)
    for (const look of [...this.#waiting]) look()
  }
}

const keyOf = (ref: ObjectRef): string => refKey(ref).replace(/^\//, '')
