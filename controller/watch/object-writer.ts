// SPDX-License-Identifier: Apache-2.0
// Changes configuration where a source reads it. Only Redis has one: a directory is written by its owner, Kubernetes by
// kubectl.
import { randomUUID } from 'node:crypto'
import type { RedisLink } from '../../mesh/redis/redis-link.ts'
import type { ObjectRef } from './config-object.ts'
import { RedisStore } from './redis-store.ts'

/** Writes objects as users write them. */
export interface ObjectWriter {
  /** @throws MeshError CONFIG_INVALID when the object is broken, REDIS_… */
  put(value: unknown): Promise<void>
  /** One that is not there is no error. @throws MeshError REDIS_… */
  delete(ref: ObjectRef): Promise<void>
  /** What is not among `values` is gone; all at once. @throws MeshError CONFIG_INVALID, REDIS_… */
  replaceAll(values: readonly unknown[]): Promise<void>
}

/** Writes to Redis, under `prefix`. */
export function redisObjectWriter(link: RedisLink, prefix: string): ObjectWriter {
  const use = (work: (store: RedisStore) => Promise<void>): Promise<void> =>
    link.use((redis) => work(new RedisStore(redis, prefix)))
  return {
    put: (value) => use((store) => store.put(value)),
    delete: (ref) => use((store) => store.delete(ref)),
    replaceAll: (values) => use((store) => store.importAll(values, randomUUID())),
  }
}
