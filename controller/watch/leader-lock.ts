// SPDX-License-Identifier: Apache-2.0
// One leader among replicas that share a Redis. The leader holds a key with a time to live and renews it; it stops
// believing in itself before the key can expire. Its fencing token grows with every election: a leader that slept through
// its end is refused by whatever checks the token (redis-store.ts).
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { RedisConnection } from '../../mesh/redis/redis-connection.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { Pause } from '../../mesh/runtime/pause.ts'
import { Lead } from '../lead.ts'
import { DEFAULT_PREFIX, fenceKey, leaderKey } from './redis-keys.ts'

const LEADER_TTL_MS = 3_000 // a leader that vanished is replaced within this and a look: under five seconds
const SAFETY_MS = 500 // a leader gives up this long before its key expires: more than a script and two clocks differ
const RENEWALS_PER_TTL = 4 // one or two lost renewals do not end a leadership

// A Redis that was started just now may have forgotten a leader that still believes in itself: it elects nobody for as
// long as such a belief can last. The token is a time where the counter was lost, so that it grows all the same.
// KEYS: leader, fence. ARGV: holder, ttl in ms.
const ACQUIRE = `
local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
if (uptime - 1) * 1000 < tonumber(ARGV[2]) then return '' end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return '' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fence = math.max(now, tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
redis.call('SET', KEYS[2], string.format('%.0f', fence))
return string.format('%.0f', fence)`

const RENEW = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`

const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

/** What a lock needs. */
export interface LeaderLockOptions {
  /** Opens a connection; called again whenever one breaks. */
  readonly connect: () => Promise<RedisConnection>
  readonly clock: Clock
  /** Milliseconds that never step back. */
  readonly monotonicMs: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Names this replica; no two have the same, not even after a restart. */
  readonly holder: string
  readonly prefix?: string
  readonly ttlMs?: number
  /** Called on every change; the token, or null while another leads or nobody. */
  readonly onChange: (fence: string | null) => void
}

/** follower → leader → follower …; stop() ends it. */
export class LeaderLock {
  readonly #options: LeaderLockOptions
  readonly #keys: readonly string[]
  readonly #ttlMs: number
  #isStopped = false
  readonly #nap: Pause
  readonly #lead: Lead
  #work: Promise<void> = Promise.resolve()

  constructor(options: LeaderLockOptions) {
    const { prefix = DEFAULT_PREFIX, ttlMs = LEADER_TTL_MS } = options
    this.#options = options
    this.#nap = new Pause(options.clock)
    this.#lead = new Lead(options.clock, options.monotonicMs, options.onChange)
    this.#keys = [leaderKey(prefix), fenceKey(prefix)]
    this.#ttlMs = ttlMs
  }

  /** The fencing token while this replica leads, else null. To be asked again after every wait. */
  get fence(): string | null {
    return this.#lead.fence
  }

  /** Begins to take part. Once. */
  start(): void {
    this.#work = this.#run()
  }

  /** Gives the lead up, so that another takes it at once. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#nap.wake()
    await this.#work
  }

  async #run(): Promise<void> {
    const everyMs = this.#ttlMs / RENEWALS_PER_TTL
    const backoff = new Backoff({ initialMs: everyMs / 4, maxMs: everyMs, random: this.#options.random })
    let redis: RedisConnection | null = null
    while (!this.#isStopped) {
      try {
        redis ??= await this.#options.connect()
        await this.#step(redis)
        backoff.reset()
        await this.#pause(everyMs * (0.9 + 0.1 * this.#options.random()))
      } catch (error) {
        // Until its time is over the leader leads on: a short break of the way to Redis ends nothing.
        if (!(error instanceof MeshError)) throw error
        redis?.close()
        redis = null
        await this.#pause(backoff.next())
      }
    }
    const wasLeader = this.fence !== null
    this.#lead.end()
    if (wasLeader)
      await redis?.script(RELEASE, this.#keys.slice(0, 1), [this.#options.holder]).catch(() => undefined)
    redis?.close()
  }

  /** Renews the lead, or tries to get it. */
  async #step(redis: RedisConnection): Promise<void> {
    const { holder, monotonicMs } = this.#options
    // Counted from before the question: the key cannot expire earlier than this.
    const validUntilMs = monotonicMs() + this.#ttlMs - Math.min(SAFETY_MS, this.#ttlMs / 4)
    if (this.fence === null) {
      this.#lead.end()
      const token = await redis.script(ACQUIRE, this.#keys, [holder, this.#ttlMs])
      const isElected = typeof token === 'string' && token !== ''
      if (isElected && monotonicMs() < validUntilMs) this.#lead.hold(token, validUntilMs)
      return
    }
    const renewed = await redis.script(RENEW, this.#keys.slice(0, 1), [holder, this.#ttlMs])
    // An answer that comes after the end does not bring the lead back: another may have had it in between.
    const fence = this.fence
    if (renewed === 1 && fence !== null) this.#lead.hold(fence, validUntilMs)
    else this.#lead.end()
  }

  async #pause(ms: number): Promise<void> {
    if (!this.#isStopped) await this.#nap.wait(ms)
  }
}
