// SPDX-License-Identifier: Apache-2.0
// Writes objects where redis.ts reads them: each change is stored, counted and published in one step.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { RedisConnection } from '../../mesh/redis/redis-connection.ts'
import { admitObject } from './admit-object.ts'
import { type ConfigObject, groupOf, kindKey, type ObjectRef } from './config-object.ts'
import { WATCHED_KINDS } from './kinds.ts'
import { nameKey } from './object-cache.ts'
import { changesChannel, DEFAULT_PREFIX, epochKey, fenceKey, objectsKey, versionKey } from './redis-keys.ts'
import { formatPath } from './value-mistakes.ts'

// KEYS: hash, version, fence. ARGV: field, value ('' deletes), channel, text of the change, fencing token ('' is none).
const WRITE = `
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[5] then
  return redis.error_reply('FENCED a newer leader has been elected')
end
local changed
if ARGV[2] == '' then changed = redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  changed = 1
end
if changed == 0 then return 0 end
local version = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[3], string.format('%d', version) .. ' ' .. ARGV[4])
return version`

// KEYS: version, epoch, then one hash per kind. ARGV: epoch, channel, then triples of hash index, field, value.
const IMPORT = `
for index = 3, #KEYS do redis.call('DEL', KEYS[index]) end
for index = 3, #ARGV, 3 do redis.call('HSET', KEYS[tonumber(ARGV[index]) + 3], ARGV[index + 1], ARGV[index + 2]) end
redis.call('SET', KEYS[2], ARGV[1])
local version = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[2], 'imported')
return version`

/** Writes through a connection that its owner opens and closes. */
export class RedisStore {
  readonly #redis: RedisConnection
  readonly #prefix: string

  constructor(redis: RedisConnection, prefix: string = DEFAULT_PREFIX) {
    this.#redis = redis
    this.#prefix = prefix
  }

  /**
   * Stores an object. `fence` is the token of a leader: a replica that does not lead any more writes nothing.
   * @throws MeshError CONFIG_INVALID when the object is broken, FENCED, REDIS_…
   */
  async put(value: unknown, fence = ''): Promise<void> {
    const admission = admitObject(value, null)
    if (admission.verdict !== 'good') {
      const { path, message } = admission.mistakes[0] ?? { path: [], message: 'no object of ours' }
      throw new MeshError('CONFIG_INVALID', { detail: `${formatPath(path)}: ${message}` })
    }
    await this.#write(kindOf(admission.object), nameKey(admission.object), JSON.stringify(value), fence)
  }

  /** Removes an object; one that is not there is no error. @throws MeshError FENCED, REDIS_… */
  async delete({ group, kind, namespace, name }: ObjectRef, fence = ''): Promise<void> {
    await this.#write(kindKey(group, kind), `${namespace}/${name}`, '', fence)
  }

  /**
   * Replaces everything at once: for the first import, and after Redis has lost its memory. `epoch` is a text that was
   * never used before. @throws MeshError CONFIG_INVALID, REDIS_…
   */
  async importAll(values: readonly unknown[], epoch: string): Promise<void> {
    // Every kind, also those of which nothing is imported: their objects go.
    const kinds = WATCHED_KINDS.map(({ group, kind }) => kindKey(group, kind))
    const triples = values.flatMap((value) => {
      const admission = admitObject(value, null)
      if (admission.verdict !== 'good') {
        throw new MeshError('CONFIG_INVALID', {
          detail: admission.mistakes[0]?.message ?? 'no object of ours',
        })
      }
      const kind = kindOf(admission.object)
      return [kinds.indexOf(kind), nameKey(admission.object), JSON.stringify(value)]
    })
    const hashes = kinds.map((kind) => objectsKey(this.#prefix, kind))
    const keys = [versionKey(this.#prefix), epochKey(this.#prefix), ...hashes]
    await this.#redis.script(IMPORT, keys, [epoch, changesChannel(this.#prefix), ...triples])
  }

  async #write(kind: string, key: string, value: string, fence: string): Promise<void> {
    const keys = [objectsKey(this.#prefix, kind), versionKey(this.#prefix), fenceKey(this.#prefix)]
    const channel = changesChannel(this.#prefix)
    await this.#redis.script(WRITE, keys, [key, value, channel, `${kind} ${key}`, fence])
  }
}

function kindOf({ apiVersion, kind }: ConfigObject): string {
  return kindKey(groupOf(apiVersion), kind)
}
