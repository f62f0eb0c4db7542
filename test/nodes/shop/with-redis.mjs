// SPDX-License-Identifier: Apache-2.0
// One connection to Redis for one piece of work, so that every piece shows what the network does now.
import { Redis } from 'ioredis'

export async function withRedis(url, timeoutMs, work) {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    retryStrategy: () => null,
  })
  let failure = null
  redis.on('error', (error) => {
    failure = error
  })
  try {
    await redis.connect()
    return await work(redis)
  } catch (error) {
    throw failure ?? error // "Connection is closed" says less than why
  } finally {
    redis.disconnect()
  }
}
