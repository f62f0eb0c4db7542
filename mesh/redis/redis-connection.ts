// SPDX-License-Identifier: Apache-2.0
// The only import of ioredis. One connection that lives until it breaks: whoever uses it opens the next one, because
// what has to be done then (subscribe, list again) is not the driver's to decide.
import { Redis } from 'ioredis'
import type { MeshError } from '../errors/mesh-error.ts'
import { redisError } from './redis-error.ts'

const CONNECT_TIMEOUT_MS = 5_000 // a server that is further away than this is not there
const COMMAND_TIMEOUT_MS = 5_000 // the longest command reads a few hundred objects

/** Where Redis is and who we are. */
export interface RedisOptions {
  readonly host: string
  readonly port: number
  /** ACL user; '' is the default user. */
  readonly username?: string
  readonly password?: string
  /** null speaks plaintext. */
  readonly tls?: RedisTls | null
  readonly commandTimeoutMs?: number
}

/** PEM texts. The server is verified always. */
export interface RedisTls {
  /** Roots of the server's certificate; '' means those of the system. */
  readonly ca: string
  /** Name in the server's certificate; '' is the host. */
  readonly serverName?: string
  /** Our own certificate, when the server wants one. */
  readonly cert?: string
  readonly key?: string
}

/** An open connection. Commands fail with a MeshError of a REDIS_… code. */
export interface RedisConnection {
  command(name: string, ...args: readonly (string | number)[]): Promise<unknown>
  /** Runs a Lua script. */
  script(lua: string, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>
  /** From then on the connection only listens, and answers PING. */
  subscribe(channel: string, onMessage: (message: string) => void): Promise<void>
  /** Resolves when the connection is over, with what ended it. Never rejects. */
  readonly closed: Promise<MeshError>
  close(): void
}

/** Opens a connection. @throws MeshError REDIS_UNAVAILABLE, REDIS_DENIED, REDIS_TLS */
export async function connectRedis(options: RedisOptions): Promise<RedisConnection> {
  const {
    host,
    port,
    username = '',
    password = '',
    tls = null,
    commandTimeoutMs = COMMAND_TIMEOUT_MS,
  } = options
  const redis = new Redis({
    ...{
      host,
      port,
      lazyConnect: true,
      connectTimeout: CONNECT_TIMEOUT_MS,
      commandTimeout: commandTimeoutMs,
    },
    ...{
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false,
      disableClientInfo: true,
    },
    ...{ autoResubscribe: false, autoResendUnfulfilledCommands: false },
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
    ...(tls === null ? {} : { tls: tlsOptions(tls) }),
  })
  let lastError: unknown
  // In the tick that creates the emitter: an error nobody hears ends the process.
  redis.on('error', (error: unknown) => {
    lastError ??= error
  })
  const { promise: closed, resolve } = Promise.withResolvers<MeshError>()
  redis.on('end', () => resolve(redisError(lastError ?? new Error('the connection was closed'))))
  try {
    await redis.connect()
    // A wrong password or user is told here, not at some later command.
    await redis.call('PING')
  } catch (cause) {
    redis.disconnect()
    throw redisError(lastError ?? cause)
  }
  return {
    command: (name, ...args) => redis.call(name, ...args).catch(rethrow),
    script: (lua, keys, args) => redis.eval(lua, keys.length, ...keys, ...args).catch(rethrow),
    subscribe: async (channel, onMessage) => {
      redis.on('message', (_: string, message: string) => onMessage(message))
      await redis.subscribe(channel).catch(rethrow)
    },
    closed,
    close: () => redis.disconnect(),
  }
}

function rethrow(cause: unknown): never {
  throw redisError(cause)
}

function tlsOptions({ ca, serverName = '', cert = '', key = '' }: RedisTls): Record<string, unknown> {
  return {
    minVersion: 'TLSv1.2',
    ...(serverName === '' ? {} : { servername: serverName }),
    ...(ca === '' ? {} : { ca }),
    ...(cert === '' ? {} : { cert, key }),
  }
}
