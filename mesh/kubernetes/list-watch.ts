// SPDX-License-Identifier: Apache-2.0
// Lists and watches one collection of an apiserver, for ever: pages, bookmarks, resuming where it was, listing again when
// that is too old. A failure waits longer each time, but not for an apiserver that answers others again; what was read stays in
// force.
import { Backoff } from '../runtime/backoff.ts'
import type { Clock, ClockTimer } from '../runtime/clock.ts'
import { ApiError, type KubernetesClient } from './client.ts'
import { isMap, own, type RawMap, textOf } from './raw-map.ts'

const PAGE_SIZE = 500 // objects per answer: what kubectl asks for
const MAX_OBJECTS_PER_KIND = 200_000 // objects of one kind: more than a cluster is made for
const MAX_EXPIRED_LISTS = 3 // pages that came too late before everything is asked for at once
const MAX_CUTS = 3 // watches that end in an error, one after the other and without an event, before all is listed again
const GONE = 410

/** Waits of a watch, shortened by tests. */
export interface WatchTiming {
  /** A watch on which nothing comes for this long, not even a bookmark, is opened anew. */
  readonly idleMs: number
  /** First wait after a failure. */
  readonly retryMs: number
  /** Longest wait after a failure, and the longest that a server may ask for. */
  readonly maxRetryMs: number
}

export const WATCH_TIMING: WatchTiming = { idleMs: 90_000, retryMs: 500, maxRetryMs: 30_000 }

/** Hears of a collection. T is what `read` makes of an object: the rest of it is not kept. */
export interface ListWatchHandler<T> {
  /** Asked before every request: another version may be served meanwhile. */
  path(): string
  read(object: unknown): T
  /** All there are, instead of what was told before. */
  onList(objects: T[]): void
  onPut(object: T): void
  onRemove(object: T): void
  /** Why the apiserver gives nothing, and with which HTTP status (0: no answer); null when it does. */
  onReachable(detail: string | null, status: number): void
  /** There is no such collection (404). Returns how long to wait; `nextDelayMs` is the wait after a failure. */
  onMissing(nextDelayMs: () => number): number
}

/** What a list-watch needs. */
export interface ListWatchOptions {
  readonly client: KubernetesClient
  readonly clock: Clock
  readonly timing: WatchTiming
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Only objects with such fields, as `spec.nodeName=node1`; '' for all. */
  readonly fieldSelector?: string
}

/** The list-watch of one collection. */
export class ListWatch<T> {
  readonly #options: ListWatchOptions
  readonly #handler: ListWatchHandler<T>
  readonly #selector: Readonly<Record<string, string>>
  readonly #backoff: Backoff
  #resourceVersion = ''
  #cuts = 0
  /** What is waited for is an answer, of whatever kind. */
  #isUnanswered = false

  constructor(options: ListWatchOptions, handler: ListWatchHandler<T>) {
    const { timing, random, fieldSelector = '' } = options
    this.#options = options
    this.#handler = handler
    this.#selector = fieldSelector === '' ? {} : { fieldSelector }
    this.#backoff = new Backoff({ initialMs: timing.retryMs, maxMs: timing.maxRetryMs, random })
  }

  /** Runs until the signal; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#isUnanswered = false
      const waitMs = await this.#round(signal)
      if (waitMs > 0 && !signal.aborted) await this.#sleep(waitMs, signal)
    }
  }

  /** Lists if need be, watches until the watch ends. Returns how long to wait before the next round. */
  async #round(signal: AbortSignal): Promise<number> {
    const { clock, timing } = this.#options
    const startedMs = clock.passedMs
    try {
      if (this.#resourceVersion === '') await this.#list(signal)
      if (signal.aborted) return 0
      await this.#watch(signal)
      // A server that ends watches at once is not asked without pause.
      if (clock.passedMs - startedMs < timing.retryMs) return this.#backoff.next()
      return 0
    } catch (error) {
      return signal.aborted ? 0 : this.#failed(error)
    }
  }

  #failed(error: unknown): number {
    const { client, timing, random } = this.#options
    const status = error instanceof ApiError ? error.status : 0
    if (status === 404 || status === GONE) this.#resourceVersion = ''
    if (status === 404) return this.#handler.onMissing(() => this.#backoff.next())
    if (status === GONE) return this.#backoff.next()
    if (status === 0 || status === 401) client.reload()
    this.#isUnanswered = status === 0
    this.#handler.onReachable(error instanceof Error ? error.message : String(error), status)
    const waitMs = this.#backoff.next()
    const askedMs = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0
    // Spread, so that those who were told the same do not come back together.
    return Math.max(waitMs, Math.min(askedMs, timing.maxRetryMs) * (1 + 0.1 * random()))
  }

  async #list(signal: AbortSignal): Promise<void> {
    for (let expired = 0; ; expired++) {
      try {
        const { objects, resourceVersion } = await this.#pages(signal, expired < MAX_EXPIRED_LISTS)
        if (signal.aborted) return
        this.#resourceVersion = resourceVersion
        this.#handler.onReachable(null, 200)
        this.#handler.onList(objects)
        return
      } catch (error) {
        const isExpired = error instanceof ApiError && error.status === GONE && expired < MAX_EXPIRED_LISTS
        if (!isExpired) throw error
      }
    }
  }

  async #pages(signal: AbortSignal, isPaged: boolean): Promise<{ objects: T[]; resourceVersion: string }> {
    const objects: T[] = []
    let position = ''
    let resourceVersion = ''
    do {
      const query = {
        ...this.#selector,
        ...(isPaged && { limit: String(PAGE_SIZE) }),
        ...(position !== '' && { continue: position }),
      }
      const page = await this.#options.client.getJson(this.#handler.path(), query, signal)
      const metadata = isMap(page) ? own(page, 'metadata') : undefined
      const items = isMap(page) ? own(page, 'items') : undefined
      if (!isMap(metadata) || !(Array.isArray(items) || items === undefined))
        throw new Error('the answer is no list')
      for (const item of items ?? []) objects.push(this.#handler.read(item))
      if (objects.length > MAX_OBJECTS_PER_KIND) throw new Error(`more than ${MAX_OBJECTS_PER_KIND} objects`)
      resourceVersion = textOf(metadata, 'resourceVersion')
      position = textOf(metadata, 'continue')
    } while (position !== '')
    if (resourceVersion === '') throw new Error('the list has no resourceVersion')
    return { objects, resourceVersion }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, clock, random } = this.#options
    const { idleMs, maxRetryMs } = this.#options.timing
    const seconds = Math.ceil((idleMs / 1000) * (3 + 2 * random()))
    const query = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#resourceVersion,
      timeoutSeconds: String(seconds),
      ...this.#selector,
    }
    const startedMs = clock.passedMs
    let isOpen = false
    const onOpen = (): void => {
      isOpen = true
      if (!signal.aborted) this.#handler.onReachable(null, 200)
    }
    try {
      for await (const event of client.getLines(this.#handler.path(), query, idleMs, onOpen, signal)) {
        if (signal.aborted) return
        this.#heard(event)
      }
    } catch (error) {
      // A watch that was cut is resumed; only when that fails the apiserver is away.
      if (!isOpen || error instanceof ApiError) throw error
      if (clock.passedMs - startedMs < maxRetryMs && ++this.#cuts > MAX_CUTS) {
        // Something stands at this place that cannot be read: a list goes round it.
        this.#resourceVersion = ''
        throw error
      }
    }
    if (clock.passedMs - startedMs >= maxRetryMs) this.#backoff.reset()
  }

  /** @throws ApiError for an ERROR event */
  #heard(event: unknown): void {
    const object = isMap(event) ? own(event, 'object') : undefined
    if (!isMap(event) || !isMap(object)) throw new Error('the event is none')
    const type = textOf(event, 'type')
    if (type === 'ERROR') throw errorOf(object)
    const metadata = own(object, 'metadata')
    const resourceVersion = isMap(metadata) ? textOf(metadata, 'resourceVersion') : ''
    this.#backoff.reset()
    this.#cuts = 0
    if (type === 'DELETED') this.#handler.onRemove(this.#handler.read(object))
    else if (type === 'ADDED' || type === 'MODIFIED') this.#handler.onPut(this.#handler.read(object))
    if (resourceVersion !== '') this.#resourceVersion = resourceVersion
  }

  /** Shorter, and the next wait is the first again, once somebody is answered who was not. */
  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { client, clock, random, timing } = this.#options
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = clock.startTimer(ms, resolve)
    let soon: ClockTimer | null = null
    const unsubscribe = client.onBack(() => {
      if (!this.#isUnanswered) return
      this.#backoff.reset()
      // Spread: there is a list-watch of every kind.
      soon ??= clock.startTimer(timing.retryMs * random(), resolve)
    })
    const wake = (): void => resolve()
    signal.addEventListener('abort', wake)
    return promise.finally(() => {
      timer.cancel()
      soon?.cancel()
      unsubscribe()
      signal.removeEventListener('abort', wake)
    })
  }
}

function errorOf(status: RawMap): ApiError {
  const code = own(status, 'code')
  return new ApiError(typeof code === 'number' ? code : 500, textOf(status, 'message') || 'an ERROR event')
}
