// SPDX-License-Identifier: Apache-2.0
// Opens connections to the Redis that the options name. Files are read for every connection: passwords and certificates
// are renewed in place. Of several addresses the first is used that is a primary: a replica forgets what it is told.
import { readFile } from 'node:fs/promises'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { connectRedis, type RedisConnection, type RedisTls } from '../mesh/redis/redis-connection.ts'
import type { ControllerConfig } from './config.ts'
import { parseRedisAddresses, type RedisAddress } from './redis-address.ts'

type RedisConfig = Pick<
  ControllerConfig,
  | 'redisAddresses'
  | 'redisUser'
  | 'redisPasswordFile'
  | 'redisCaFile'
  | 'redisCertificateFile'
  | 'redisKeyFile'
>

/** Opens a connection. @throws MeshError REDIS_… of the last address; CONFIG_INVALID when a file is unreadable */
export async function connectTo(config: RedisConfig): Promise<RedisConnection> {
  const addresses = parseRedisAddresses(config.redisAddresses)
  if (typeof addresses === 'string') throw new MeshError('CONFIG_INVALID', { detail: addresses })
  const password = (await textOf(config.redisPasswordFile)).trimEnd()
  // Without one Redis would take us for its default user, who may do other things.
  if (password === '' && config.redisPasswordFile !== '')
    throw new MeshError('CONFIG_INVALID', { detail: `${config.redisPasswordFile} holds no password` })
  let failure: unknown
  for (const address of addresses) {
    try {
      return await openPrimary(config, address, password)
    } catch (cause) {
      failure = cause
    }
  }
  throw failure
}

async function openPrimary(
  config: RedisConfig,
  { host, port, isTls }: RedisAddress,
  password: string,
): Promise<RedisConnection> {
  const tls = isTls ? await tlsOf(config) : null
  const redis = await connectRedis({ ...{ host, port, tls, password }, username: config.redisUser })
  try {
    const facts = await redis.command('INFO', 'replication')
    if (typeof facts === 'string' && facts.includes('role:master')) return redis
    const detail = `${host}:${port} is no primary`
    throw new MeshError('REDIS_UNAVAILABLE', { side: 'upstream', retryable: true, detail })
  } catch (cause) {
    redis.close()
    throw cause
  }
}

async function tlsOf(config: RedisConfig): Promise<RedisTls> {
  const [ca, cert, key] = await Promise.all(
    [config.redisCaFile, config.redisCertificateFile, config.redisKeyFile].map(textOf),
  )
  return { ca: ca ?? '', cert: cert ?? '', key: key ?? '' }
}

async function textOf(path: string): Promise<string> {
  if (path === '') return ''
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new MeshError('CONFIG_INVALID', { detail: `${path} is unreadable`, cause })
  }
}
