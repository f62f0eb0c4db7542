// SPDX-License-Identifier: Apache-2.0
// Lists and watches one kind of one apiserver, for ever: pages, bookmarks, resuming where it was, listing again when that
// is too old. A failure waits longer each time; what was read stays in force.

import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { ApiError, type KubernetesClient } from '../kubernetes/client.ts'
import { type ConfigObject, kindKey } from './config-object.ts'
import type { ConfigSink } from './config-source.ts'
import type { WatchedKind } from './kinds.ts'
import { pruneObject } from './kubernetes-prune.ts'
import { type NamedValue, ObjectCache } from './object-cache.ts'
import { isMap, own, type RawMap } from './value-mistakes.ts'

const PAGE_SIZE = 500 // objects per answer: what kubectl asks for
const MAX_OBJECTS_PER_KIND = 200_000 // objects of one kind: more than a cluster is made for
const MAX_EXPIRED_LISTS = 3 // pages that came too late before everything is asked for at once
const MAX_CUTS = 3 // watches that end in an error, one after the other and without an event, before all is listed again
const GONE = 410

/** Waits of a watch, shortened by tests. */
export interface KindTiming {
  /** A watch on which nothing comes for this long, not even a bookmark, is opened anew. */
  readonly idleMs: number
  /** A kind that the apiserver does not know is asked for this often. */
  readonly missingPollMs: number
  /** First wait after a failure. */
  readonly retryMs: number
  /** Longest wait after a failure, and the longest that a server may ask for. */
  readonly maxRetryMs: number
}

export const KIND_TIMING: KindTiming = {
  idleMs: 90_000,
  missingPollMs: 30_000,
  retryMs: 500,
  maxRetryMs: 30_000,
}

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
  readonly #client: KubernetesClient
  readonly #sink: ConfigSink
  readonly #listener: KindListener
  readonly #clock: Clock
  readonly #timing: KindTiming
  readonly #random: () => number
  readonly #backoff: Backoff
  /** Index into the kind's versions of the one that was served last. */
  #version = 0
  #resourceVersion = ''
  #isListed = false
  #missingCount = 0
  #cuts = 0

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
    this.#client = client
    this.#sink = sink
    this.#listener = listener
    this.#clock = clock
    this.#timing = timing
    this.#random = random
    this.cache = new ObjectCache(kind)
    this.#backoff = new Backoff({ initialMs: timing.retryMs, maxMs: timing.maxRetryMs, random })
  }

  /** Runs until the signal; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const waitMs = await this.#round(signal)
      if (waitMs > 0 && !signal.aborted) await this.#sleep(waitMs, signal)
    }
  }

  /** Lists if need be, watches until the watch ends. Returns how long to wait before the next round. */
  async #round(signal: AbortSignal): Promise<number> {
    const startedMs = this.#clock.nowMs
    try {
      if (this.#resourceVersion === '') await this.#list(signal)
      if (signal.aborted) return 0
      await this.#watch(signal)
      // A server that ends watches at once is not asked without pause.
      if (this.#clock.nowMs - startedMs < this.#timing.retryMs) return this.#backoff.next()
      return 0
    } catch (error) {
      return signal.aborted ? 0 : this.#failed(error)
    }
  }

  #failed(error: unknown): number {
    const status = error instanceof ApiError ? error.status : 0
    if (status === 404) return this.#missing()
    if (status === GONE) {
      this.#resourceVersion = ''
      return this.#backoff.next()
    }
    if (status === 0 || status === 401) this.#client.reload()
    this.#listener.onReachable(error instanceof Error ? error.message : String(error))
    const waitMs = this.#backoff.next()
    const askedMs = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0
    // Spread, so that those who were told the same do not come back together.
    return Math.max(waitMs, Math.min(askedMs, this.#timing.maxRetryMs) * (1 + 0.1 * this.#random()))
  }

  // No version is served: a kind without objects. Believed at the second look where there were objects, because an
  // apiserver that just started may not know its own kinds yet.
  #missing(): number {
    this.#resourceVersion = ''
    this.#version = (this.#version + 1) % this.#kind.versions.length
    if (this.#version !== 0) return 1
    if (this.#kind.origin === 'core') {
      this.#listener.onReachable(`the apiserver does not know ${this.#kind.plural}`)
      return this.#backoff.next()
    }
    this.#missingCount++
    this.#listener.onReachable(null)
    if (this.#missingCount === 1 && this.cache.size > 0) return this.#backoff.next()
    this.#replace([])
    return this.#timing.missingPollMs * (0.9 + 0.2 * this.#random())
  }

  async #list(signal: AbortSignal): Promise<void> {
    for (let expired = 0; ; expired++) {
      try {
        const { values, resourceVersion } = await this.#pages(signal, expired < MAX_EXPIRED_LISTS)
        if (signal.aborted) return
        this.#resourceVersion = resourceVersion
        this.#missingCount = 0
        this.#listener.onReachable(null)
        this.#replace(values)
        return
      } catch (error) {
        const isExpired = error instanceof ApiError && error.status === GONE && expired < MAX_EXPIRED_LISTS
        if (!isExpired) throw error
      }
    }
  }

  async #pages(
    signal: AbortSignal,
    isPaged: boolean,
  ): Promise<{ values: NamedValue[]; resourceVersion: string }> {
    const values: NamedValue[] = []
    let position = ''
    let resourceVersion = ''
    do {
      const query: Record<string, string> = isPaged ? { limit: String(PAGE_SIZE) } : {}
      if (position !== '') query.continue = position
      const page = await this.#client.getJson(this.#path(), query, signal)
      const metadata = isMap(page) ? own(page, 'metadata') : undefined
      const items = isMap(page) ? own(page, 'items') : undefined
      if (!isMap(metadata) || !(Array.isArray(items) || items === undefined))
        throw new Error('the answer is no list')
      for (const item of items ?? []) values.push(this.#named(item))
      if (values.length > MAX_OBJECTS_PER_KIND) throw new Error(`more than ${MAX_OBJECTS_PER_KIND} objects`)
      resourceVersion = textOf(metadata, 'resourceVersion')
      position = textOf(metadata, 'continue')
    } while (position !== '')
    if (resourceVersion === '') throw new Error('the list has no resourceVersion')
    return { values, resourceVersion }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const seconds = Math.ceil((this.#timing.idleMs / 1000) * (3 + 2 * this.#random()))
    const query = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#resourceVersion,
      timeoutSeconds: String(seconds),
    }
    const { idleMs, maxRetryMs } = this.#timing
    const startedMs = this.#clock.nowMs
    let isOpen = false
    const onOpen = (): void => {
      isOpen = true
      if (!signal.aborted) this.#listener.onReachable(null)
    }
    try {
      for await (const event of this.#client.getLines(this.#path(), query, idleMs, onOpen, signal)) {
        if (signal.aborted) return
        this.#heard(event)
      }
    } catch (error) {
      // A watch that was cut is resumed; only when that fails the apiserver is away.
      if (!isOpen || error instanceof ApiError) throw error
      if (this.#clock.nowMs - startedMs < maxRetryMs && ++this.#cuts > MAX_CUTS) {
        // Something stands at this place that cannot be read: a list goes round it.
        this.#resourceVersion = ''
        throw error
      }
    }
    if (this.#clock.nowMs - startedMs >= maxRetryMs) this.#backoff.reset()
  }

  /** @throws ApiError for an ERROR event */
  #heard(event: unknown): void {
    const object = isMap(event) ? own(event, 'object') : undefined
    if (!isMap(event) || !isMap(object)) throw new Error('the event is none')
    const type = textOf(event, 'type')
    if (type === 'ERROR') {
      const code = own(object, 'code')
      throw new ApiError(typeof code === 'number' ? code : 500, textOf(object, 'message') || 'an ERROR event')
    }
    const metadata = own(object, 'metadata')
    const resourceVersion = isMap(metadata) ? textOf(metadata, 'resourceVersion') : ''
    this.#backoff.reset()
    this.#cuts = 0
    if (type === 'DELETED') this.#remove(this.#named(object).key)
    else if (type === 'ADDED' || type === 'MODIFIED') this.#put(this.#named(object))
    if (resourceVersion !== '') this.#resourceVersion = resourceVersion
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
    const metadata = own(object, 'metadata')
    const [namespace, name] = isMap(metadata)
      ? [textOf(metadata, 'namespace'), textOf(metadata, 'name')]
      : ['', '']
    const apiVersion = group === '' ? version : `${group}/${version}`
    return { key: `${namespace}/${name}`, value: pruneObject(kind, { apiVersion, kind, ...object }) }
  }

  #path(): string {
    const { group, plural, versions } = this.#kind
    const version = versions[this.#version] ?? ''
    return group === '' ? `/api/${version}/${plural}` : `/apis/${group}/${version}/${plural}`
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = this.#clock.startTimer(ms, resolve)
    const wake = (): void => resolve()
    signal.addEventListener('abort', wake)
    return promise.finally(() => {
      timer.cancel()
      signal.removeEventListener('abort', wake)
    })
  }
}

function textOf(map: RawMap, key: string): string {
  const value = own(map, key)
  return typeof value === 'string' ? value : ''
}
