// SPDX-License-Identifier: Apache-2.0
// Every source of configuration against one suite.
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { kindKey } from '../../controller/watch/config-object.ts'
import { DirectorySource } from '../../controller/watch/directory.ts'
import { KubernetesSource } from '../../controller/watch/kubernetes.ts'
import { RedisSource } from '../../controller/watch/redis.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { type SourceLab, testConfigSource } from '../support/config-source-contract.ts'
import { FakeApiserver } from '../support/fake-apiserver.ts'
import { RedisServer } from '../support/redis-server.ts'

/** A directory with one file per object. */
async function openDirectoryLab(): Promise<SourceLab> {
  const parent = await mkdtemp(join(tmpdir(), 'sidestep-source-'))
  const root = join(parent, 'config')
  await mkdir(root)
  const fileOf = ({ kind, metadata }: Record<string, unknown>): string =>
    join(root, `${kind}-${(metadata as { name: string }).name}.yaml`) // as: the suite's own objects
  return {
    open: () => new DirectorySource(root, systemClock),
    put: (value) => writeFile(fileOf(value), JSON.stringify(value)),
    delete: (value) => rm(fileOf(value)),
    disconnect: () => rename(root, `${root}-away`),
    reconnect: () => rename(`${root}-away`, root),
    // A file that is replaced by a rename is another file, of which no watcher knows.
    gap: async (work) => {
      await rename(root, `${root}-gap`)
      await mkdir(root)
      await rm(root, { recursive: true })
      await rename(`${root}-gap`, root)
      await work()
    },
    close: () => rm(parent, { recursive: true, force: true }),
  }
}

/** An apiserver that forgets, and waits short enough for a test. */
async function openKubernetesLab(): Promise<SourceLab> {
  const server = new FakeApiserver()
  await server.listen()
  const timing = { retryMs: 20, maxRetryMs: 200, idleMs: 60_000, missingPollMs: 200 }
  return {
    open: () => {
      const client = new KubernetesClient(
        kubeConfigAccess(() => server.kubeConfig()),
        systemClock,
      )
      return new KubernetesSource({ client, clock: systemClock, random: Math.random, timing })
    },
    put: async (value) => server.put(value),
    delete: async (value) => server.delete(value),
    disconnect: () => server.close(),
    reconnect: () => server.listen(),
    gap: async (work) => {
      await server.close()
      await work()
      server.compact()
      await server.listen()
    },
    close: () => server.close(),
  }
}

/** A redis-server that keeps what it was told, and a writer that checks nothing. */
async function openRedisLab(): Promise<SourceLab> {
  const server = await RedisServer.open({ config: ['appendonly yes', 'appendfsync always'] })
  let isCut = false
  const timing = { lookIntervalMs: 500, retryMs: 20, maxRetryMs: 200 }
  const connect = async () => {
    if (isCut) throw new Error('cut off')
    return await server.connect()
  }
  const write = async (value: Record<string, unknown>, command: string, ...args: string[]): Promise<void> => {
    const redis = await server.connect()
    const [, group = ''] = String(value.apiVersion).split('/').toReversed()
    const kind = kindKey(group, String(value.kind))
    const { namespace, name } = value.metadata as Record<string, string> // as: the suite's own objects
    await redis.command(command, `sidestep:objects:${kind}`, `${namespace}/${name}`, ...args)
    const version = await redis.command('INCR', 'sidestep:version')
    await redis.command('PUBLISH', 'sidestep:changes', `${version} ${kind} ${namespace}/${name}`)
    redis.close()
  }
  return {
    open: () => new RedisSource({ connect, clock: systemClock, random: Math.random, timing }),
    put: (value) => write(value, 'HSET', JSON.stringify(value)),
    delete: (value) => write(value, 'HDEL'),
    disconnect: () => server.kill(),
    reconnect: () => server.start(),
    gap: async (work) => {
      isCut = true
      const redis = await server.connect()
      await redis.command('CLIENT', 'KILL', 'SKIPME', 'yes')
      redis.close()
      await work()
      isCut = false
    },
    close: () => server.close(),
  }
}

testConfigSource(t, 'directory', openDirectoryLab)
testConfigSource(t, 'kubernetes', openKubernetesLab)
testConfigSource(t, 'redis', openRedisLab)
