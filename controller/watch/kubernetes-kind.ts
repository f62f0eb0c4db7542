// SPDX-License-Identifier: Apache-2.0
// The objects of one kind in an apiserver, in whichever of its versions is served: what is read of them, and what is told.
import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { ListWatch, WATCH_TIMING, type WatchTiming } from '../../mesh/kubernetes/list-watch.ts'
import { isMap, mapOf, type RawMap, textOf } from '../../mesh/kubernetes/raw-map.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { type ConfigObject, kindKey } from './config-object.ts'
import type { ConfigSink } from './config-source.ts'
import type { WatchedKind } from './kinds.ts'
import { pruneObject } from './kubernetes-prune.ts'
import { type NamedValue, ObjectCache } from './object-cache.ts'

/** Waits of a watch, shortened by tests. */
export interface KindTiming extends WatchTiming {
  /** A kind that the apiserver does not know is asked for this often. */
  readonly missingPollMs: number
}

export const KIND_TIMING: KindTiming = { ...WATCH_TIMING, missingPollMs: 30_000 }

/** What a kind tells beside its objects. */
export interface KindListener {
  /** Listed for the first time. */
  onListed(): void
  onMistakes(): void
  /** Why the apiserver does not answer; null when it does. */
  onReachable(detail: string | null): void
}

/** The list-watch of one kind. */
export class KubernetesKind {
  readonly cache: ObjectCache
  readonly #kind: WatchedKind
  readonly #sink: ConfigSink
  readonly #listener: KindListener
  readonly #timing: KindTiming
  readonly #random: () => number
  readonly #watch: ListWatch<NamedValue>
  /** Index into the kind's versions of the one that was served last. */
  #version = 0
  #isListed = false
  #missingCount = 0

  constructor(
    kind: WatchedKind,
    client: KubernetesClient,
    sink: ConfigSink,
    listener: KindListener,
    clock: Clock,
    timing: KindTiming,
    random: () => number,
  ) {
    this.#kind = kind
    this.#sink = sink
    this.#listener = listener
    this.#timing = timing
    this.#random = random
    this.cache = new ObjectCache(kind)
    this.#watch = new ListWatch(
      { client, clock, timing, random },
      {
        path: () => this.#path(),
        read: (object) => this.#named(object),
        onList: (values) => {
          this.#missingCount = 0
          this.#replace(values)
        },
        onPut: (value) => this.#put(value),
        onRemove: ({ key }) => this.#remove(key),
        onReachable: (detail) => listener.onReachable(detail),
        onMissing: (nextDelayMs) => this.#missing(nextDelayMs),
      },
    )
  }

  /** Runs until the signal; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#watch.run(signal)
  }

  // No version is served: a kind without objects. Believed at the second look where there were objects, because an
  // apiserver that just started may not know its own kinds yet.
  #missing(nextDelayMs: () => number): number {
    this.#version = (this.#version + 1) % this.#kind.versions.length
    if (this.#version !== 0) return 1
    if (this.#kind.origin === 'core') {
      this.#listener.onReachable(`the apiserver does not know ${this.#kind.plural}`)
      return nextDelayMs()
    }
    this.#missingCount++
    this.#listener.onReachable(null)
    if (this.#missingCount === 1 && this.cache.size > 0) return nextDelayMs()
    this.#replace([])
    return this.#timing.missingPollMs * (0.9 + 0.2 * this.#random())
  }

  #put({ key, value }: NamedValue): void {
    const before = this.cache.mistakes.length
    const object = this.cache.put(key, value)
    if (object !== null) this.#sink.apply(object)
    if (before > 0 || this.cache.mistakes.length > 0) this.#listener.onMistakes()
  }

  #remove(key: string): void {
    const before = this.cache.mistakes.length
    const ref = this.cache.remove(key)
    if (ref !== null) this.#sink.remove(ref)
    if (before > 0) this.#listener.onMistakes()
  }

  #replace(values: readonly NamedValue[]): void {
    const before = this.cache.mistakes.length
    const objects: ConfigObject[] = this.cache.replace(values)
    this.#sink.replace(kindKey(this.#kind.group, this.#kind.kind), objects)
    if (before > 0 || this.cache.mistakes.length > 0) this.#listener.onMistakes()
    if (!this.#isListed) this.#listener.onListed()
    this.#isListed = true
  }

  /** An object of a list or event, pruned. Items of lists do not repeat what kind they are. */
  #named(item: unknown): NamedValue {
    const { group, kind, versions } = this.#kind
    const version = versions[this.#version] ?? ''
    const object: RawMap = isMap(item) ? item : {}
    const metadata = mapOf(object, 'metadata')
    const apiVersion = group === '' ? version : `${group}/${version}`
    return {
      key: `${textOf(metadata, 'namespace')}/${textOf(metadata, 'name')}`,
      value: pruneObject(kind, { apiVersion, kind, ...object }),
    }
  }

  #path(): string {
    const { group, plural, versions } = this.#kind
    const version = versions[this.#version] ?? ''
    return group === '' ? `/api/${version}/${plural}` : `/apis/${group}/${version}/${plural}`
  }
}
