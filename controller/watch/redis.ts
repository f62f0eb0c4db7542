// SPDX-License-Identifier: Apache-2.0
// Redis as source of configuration (redis-keys.ts says what is in it). Changes are heard by pub/sub, which may lose some:
// their numbers tell, and a look at the counter every few seconds. A Redis that has lost its memory is not believed.

import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { RedisConnection } from '../../mesh/redis/redis-connection.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { Pause } from '../../mesh/runtime/pause.ts'
import { kindKey } from './config-object.ts'
import type { ConfigSink, ConfigSource } from './config-source.ts'
import { WATCHED_KINDS } from './kinds.ts'
import { type NamedValue, ObjectCache } from './object-cache.ts'
import {
  type Change,
  changesChannel,
  DEFAULT_PREFIX,
  epochKey,
  objectsKey,
  parseChange,
  versionKey,
} from './redis-keys.ts'

const LOOK_INTERVAL_MS = 3_000 // changes whose message was lost are found within this
const SCAN_COUNT = 500 // objects asked for at once
const MAX_OBJECTS_PER_KIND = 200_000 // objects of one kind: more than a mesh is made for
const MAX_WAITING_CHANGES = 10_000 // changes heard and not yet read; more, and all is listed again

/** What a source needs. */
export interface RedisSourceOptions {
  /** Opens a connection; called again whenever one breaks. */
  readonly connect: () => Promise<RedisConnection>
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly prefix?: string
  readonly timing?: Partial<RedisTiming>
}

/** Waits that tests shorten. */
export interface RedisTiming {
  readonly lookIntervalMs: number
  readonly retryMs: number
  readonly maxRetryMs: number
}

/** Reads objects from Redis. */
export class RedisSource implements ConfigSource {
  readonly name = 'redis'
  readonly #options: RedisSourceOptions
  readonly #prefix: string
  readonly #timing: RedisTiming
  readonly #caches = new Map(
    WATCHED_KINDS.map((kind) => [kindKey(kind.group, kind.kind), new ObjectCache(kind)]),
  )
  readonly #backoff: Backoff
  #sink: ConfigSink | null = null
  /** Changes heard and not yet read. */
  #waiting: Change[] = []
  #mustList = true
  /** Number of the last change that is in force; -1 before anything was read. */
  #version = -1
  #epoch = ''
  #unreachable: string | null = null
  #isSynced = false
  #isStopped = false
  readonly #nap: Pause
  #work: Promise<void> = Promise.resolve()

  constructor(options: RedisSourceOptions) {
    this.#options = options
    this.#nap = new Pause(options.clock)
    this.#prefix = options.prefix ?? DEFAULT_PREFIX
    this.#timing = { lookIntervalMs: LOOK_INTERVAL_MS, retryMs: 200, maxRetryMs: 5_000, ...options.timing }
    const { retryMs, maxRetryMs } = this.#timing
    this.#backoff = new Backoff({ initialMs: retryMs, maxMs: maxRetryMs, random: options.random })
  }

  start(sink: ConfigSink): void {
    this.#sink = sink
    this.#work = this.#run()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#sink = null
    this.#nap.wake()
    await this.#work
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const open: RedisConnection[] = []
      try {
        open.push(await this.#options.connect(), await this.#options.connect())
        const [reader, listener] = open
        if (reader !== undefined && listener !== undefined) await this.#follow(reader, listener)
      } catch (error) {
        this.#reach(error instanceof MeshError ? `${error.code}: ${error.detail}` : String(error))
      }
      for (const connection of open) connection.close()
      if (!this.#isStopped) await this.#pause(this.#backoff.next())
    }
  }

  /** Reads until a connection breaks. @throws MeshError of what broke it */
  async #follow(reader: RedisConnection, listener: RedisConnection): Promise<void> {
    let broken: MeshError | null = null
    for (const { closed } of [reader, listener]) {
      void closed.then((error) => {
        broken = error
        this.#nap.wake()
      })
    }
    // Heard from before the list: what changes while listing is read again after it.
    await listener.subscribe(changesChannel(this.#prefix), (message) => this.#heard(message))
    this.#mustList = true
    while (!this.#isStopped) {
      const isInForce = await this.#catchUp(reader, listener)
      if (broken !== null) throw broken
      if (isInForce && (this.#waiting.length > 0 || this.#mustList)) continue
      await this.#pause(this.#timing.lookIntervalMs)
      if (broken !== null) throw broken
      // A connection that hangs is noticed by its silence.
      if (this.#waiting.length === 0 && !this.#isStopped) await listener.command('PING')
    }
  }

  #heard(message: string): void {
    const change = parseChange(message)
    if (change === undefined || this.#waiting.length >= MAX_WAITING_CHANGES) this.#mustList = true
    else this.#waiting.push(change)
    this.#nap.wake()
  }

  /**
   * Brings everything up to date: by the changes that were heard, or by a list when any is missing. False when the store
   * is not to be believed.
   */
  async #catchUp(reader: RedisConnection, listener: RedisConnection): Promise<boolean> {
    const changes = this.#waiting
    this.#waiting = []
    for (const change of changes) {
      if (this.#mustList) break
      if (change.version <= this.#version) continue
      if (change.version === this.#version + 1) await this.#readOne(reader, change)
      else this.#mustList = true
    }
    const [version, epoch] = await this.#readPosition(reader)
    const isSameStore = epoch === this.#epoch || epoch === ''
    if (version < this.#version && isSameStore) {
      this.#mustList = true
      this.#reach(
        `the store has lost its memory: change ${version} after ${this.#version}; import everything again`,
      )
      return false
    }
    // What was published before the answer to PING has been delivered before it.
    if (version !== this.#version && !this.#mustList) await listener.command('PING')
    const hasMissed = version !== this.#version && this.#waiting.length === 0
    if (this.#mustList || hasMissed || epoch !== this.#epoch) await this.#listAll(reader, version, epoch)
    this.#backoff.reset()
    this.#reach(null)
    return true
  }

  async #readPosition(reader: RedisConnection): Promise<readonly [number, string]> {
    const answer = await reader.command('MGET', versionKey(this.#prefix), epochKey(this.#prefix))
    const [version, epoch] = Array.isArray(answer) ? (answer as readonly unknown[]) : [] // as: items are looked at
    if (version !== null && !(typeof version === 'string' && /^\d{1,15}$/.test(version))) {
      throw new MeshError('REDIS_ANSWER', { detail: `${versionKey(this.#prefix)} is no number` })
    }
    return [Number(version ?? 0), typeof epoch === 'string' ? epoch : '']
  }

  async #readOne(reader: RedisConnection, { version, kind, key }: Change): Promise<void> {
    const cache = this.#caches.get(kind)
    if (cache !== undefined) {
      const text = await reader.command('HGET', objectsKey(this.#prefix, kind), key)
      const before = cache.mistakes.length
      if (typeof text === 'string') {
        const object = cache.put(key, parseJson(text))
        if (object !== null) this.#sink?.apply(object)
      } else {
        const ref = cache.remove(key)
        if (ref !== null) this.#sink?.remove(ref)
      }
      if (before > 0 || cache.mistakes.length > 0) this.#tellMistakes()
    }
    this.#version = version
  }

  // Everything is read before anything is told: a connection that breaks half-way changes nothing.
  async #listAll(reader: RedisConnection, version: number, epoch: string): Promise<void> {
    this.#mustList = false
    const lists = new Map<string, NamedValue[]>()
    try {
      for (const kind of this.#caches.keys()) lists.set(kind, await this.#readKind(reader, kind))
    } catch (error) {
      this.#mustList = true
      throw error
    }
    if (this.#isStopped) return
    for (const [kind, cache] of this.#caches) this.#sink?.replace(kind, cache.replace(lists.get(kind) ?? []))
    this.#version = version
    this.#epoch = epoch
    this.#tellMistakes()
    if (!this.#isSynced) this.#sink?.synced()
    this.#isSynced = true
  }

  async #readKind(reader: RedisConnection, kind: string): Promise<NamedValue[]> {
    const values = new Map<string, unknown>()
    let cursor = '0'
    do {
      const answer = await reader.command(
        'HSCAN',
        objectsKey(this.#prefix, kind),
        cursor,
        'COUNT',
        SCAN_COUNT,
      )
      const [next, pairs] = Array.isArray(answer) ? (answer as readonly unknown[]) : [] // as: both are looked at
      if (typeof next !== 'string' || !Array.isArray(pairs)) {
        throw new MeshError('REDIS_ANSWER', { detail: `HSCAN of ${kind} answers no list` })
      }
      for (let index = 0; index + 1 < pairs.length; index += 2) {
        values.set(String(pairs[index]), parseJson(String(pairs[index + 1])))
      }
      if (values.size > MAX_OBJECTS_PER_KIND) {
        throw new MeshError('REDIS_ANSWER', {
          detail: `more than ${MAX_OBJECTS_PER_KIND} objects of ${kind}`,
        })
      }
      cursor = next
    } while (cursor !== '0')
    // Redis keeps no order: the same content is always told in the same one.
    return [...values]
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, value]) => ({ key, value }))
  }

  #tellMistakes(): void {
    this.#sink?.mistakes([...this.#caches.values()].flatMap(({ mistakes }) => mistakes))
  }

  #reach(unreachable: string | null): void {
    if (unreachable === this.#unreachable) return
    this.#unreachable = unreachable
    this.#sink?.reachable(unreachable)
  }

  /** Waits, or until something happens. */
  async #pause(ms: number): Promise<void> {
    if (!this.#isStopped) await this.#nap.wait(ms)
  }
}

/** The value, or the text itself, which then is no object. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown // as: JSON.parse says any
  } catch {
    return text
  }
}
