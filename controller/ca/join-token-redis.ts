// SPDX-License-Identifier: Apache-2.0
// Join tokens in Redis, for replicas that share nothing else. Every operation is one script or one command, so that it
// is atomic for all replicas. Nothing that is read is believed: a record is parsed as strictly as one on disk.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { RedisConnection } from '../../mesh/redis/redis-connection.ts'
import type { RedisLink } from '../../mesh/redis/redis-link.ts'
import { fenceKey, joinTokenKey, joinTokensKey } from '../watch/redis-keys.ts'
import { formatJoinToken, type JoinTokenStatus, type JoinTokenStore, parseJoinToken } from './join-tokens.ts'

const ID = /^[0-9a-f]{24}$/
const MAX_PURGED = 1_000 // tokens removed in one go; the next go is soon

// KEYS: token, ids, ends. ARGV: record, id, end in ms.
const ADD = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
return 1`

// The record must still be the one that was looked at. KEYS: token, nodes, ends. ARGV: record, node, id, hash of the key.
const CLAIM = `
if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', KEYS[1], 'revoked') == 1 then return 0 end
if redis.call('HSETNX', KEYS[1], 'used', ARGV[4]) == 0 then
  return redis.call('HGET', KEYS[1], 'used') == ARGV[4] and 1 or 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[3])
return 1`

// KEYS: token.
const REVOKE = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HSET', KEYS[1], 'revoked', '1')`

// KEYS: token, ids, ends, fence. ARGV: id, fencing token.
const REMOVE_UNUSED = `
if redis.call('GET', KEYS[4]) ~= ARGV[2] then
  return redis.error_reply('FENCED a newer leader has been elected')
end
redis.call('ZREM', KEYS[3], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'used') == 1 then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])`

/** A token as it is stored, and what it says. */
interface Stored {
  readonly text: string
  readonly status: JoinTokenStatus
}

/** The store in Redis, under `prefix`. */
export function openJoinTokenRedis(link: RedisLink, prefix: string): JoinTokenStore {
  const [ids, ends, nodes] = ['ids', 'ends', 'nodes'].map((part) => joinTokensKey(prefix, part)) as [
    string,
    string,
    string, // as: three of three
  ]
  const keyOf = (id: string): string => joinTokenKey(prefix, id)
  const read = async (redis: RedisConnection, id: unknown): Promise<Stored | null> =>
    typeof id === 'string' && ID.test(id) ? await readToken(redis, keyOf(id), id) : null
  return {
    find: (id) => link.use(async (redis) => (await read(redis, id))?.status ?? null),
    add: (record) =>
      link.use(async (redis) => {
        const { id, expiresAtMs } = record
        await redis.script(ADD, [keyOf(id), ids, ends], [formatJoinToken(record), id, expiresAtMs])
      }),
    claim: (id, keyHash) =>
      link.use(async (redis) => {
        const stored = await read(redis, id)
        if (stored === null) return false
        const { text, status } = stored
        return (await redis.script(CLAIM, [keyOf(id), nodes, ends], [text, status.node, id, keyHash])) === 1
      }),
    revoke: (id) =>
      link.use(async (redis) => {
        if (ID.test(id)) await redis.script(REVOKE, [keyOf(id)], [])
      }),
    findByNode: (node) =>
      link.use(
        async (redis) => (await read(redis, await redis.command('HGET', nodes, node)))?.status ?? null,
      ),
    list: () =>
      link.use(async (redis) => {
        const found = await Promise.all(
          textsOf(await redis.command('SMEMBERS', ids)).map((id) => read(redis, id)),
        )
        return found.flatMap((stored) => stored?.status ?? [])
      }),
    purge: (beforeMs, fence) =>
      link.use(async (redis) => {
        const answer = await redis.command(
          'ZRANGE',
          ends,
          '-inf',
          `(${beforeMs}`,
          'BYSCORE',
          'LIMIT',
          0,
          MAX_PURGED,
        )
        let removed = 0
        for (const id of textsOf(answer)) {
          const keys = [keyOf(id), ids, ends, fenceKey(prefix)]
          if ((await redis.script(REMOVE_UNUSED, keys, [id, fence])) === 1) removed++
        }
        return removed
      }),
  }
}

async function readToken(redis: RedisConnection, key: string, id: string): Promise<Stored | null> {
  const fields = await redis.command('HMGET', key, 'record', 'used', 'revoked')
  const [text, used, revoked] = Array.isArray(fields) ? (fields as readonly unknown[]) : [] // as: looked at below
  if (text === null && used === null && revoked === null) return null
  // Half of a token is not taken for none: it may be one that was used.
  if (typeof text !== 'string')
    throw new MeshError('CA_KEY', { detail: `the record of join token ${id} is damaged` })
  const status = { ...parseJoinToken(text, id), isUsed: used !== null, isRevoked: revoked !== null }
  return { text, status }
}

function textsOf(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.filter((each) => typeof each === 'string') : []
}
