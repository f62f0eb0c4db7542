// SPDX-License-Identifier: Apache-2.0
// One connection shared by many who ask now and then: opened when it is needed, and again after it broke. Who asks
// while Redis is away is told so at once; nothing is queued and nothing is sent twice.
import { MeshError } from '../errors/mesh-error.ts'
import type { RedisConnection } from './redis-connection.ts'

export class RedisLink {
  readonly #connect: () => Promise<RedisConnection>
  #connection: Promise<RedisConnection> | null = null
  #isClosed = false

  constructor(connect: () => Promise<RedisConnection>) {
    this.#connect = connect
  }

  /** Does some work on the connection. @throws MeshError REDIS_…, SHUTDOWN after close(), and what `work` throws */
  async use<T>(work: (redis: RedisConnection) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new MeshError('SHUTDOWN', { detail: 'the link to Redis is closed' })
    this.#connection ??= this.#dial()
    const connection = this.#connection
    const redis = await connection
    try {
      return await work(redis)
    } catch (cause) {
      // A connection that answers no more may stay open for hours: the next one who asks dials anew.
      if (cause instanceof MeshError && cause.code === 'REDIS_UNAVAILABLE') {
        this.#forget(connection)
        redis.close()
      }
      throw cause
    }
  }

  /** Ends it; what is under way fails. */
  async close(): Promise<void> {
    this.#isClosed = true
    const connection = await this.#connection?.catch(() => null)
    connection?.close()
  }

  #dial(): Promise<RedisConnection> {
    const connection = this.#connect()
    const forget = (): void => this.#forget(connection)
    void connection.then(({ closed }) => closed.then(forget), forget)
    return connection
  }

  #forget(connection: Promise<RedisConnection>): void {
    if (this.#connection === connection) this.#connection = null
  }
}
