// SPDX-License-Identifier: Apache-2.0
// Every store of join tokens against one suite.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openJoinTokenDirectory } from '../../controller/ca/join-token-directory.ts'
import { openJoinTokenRedis } from '../../controller/ca/join-token-redis.ts'
import { RedisLink } from '../../mesh/redis/redis-link.ts'
import { type JoinTokenLab, testJoinTokenStore } from '../support/join-token-store-contract.ts'
import { RedisServer } from '../support/redis-server.ts'

async function openDirectoryLab(): Promise<JoinTokenLab> {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-tokens-'))
  return {
    open: () => openJoinTokenDirectory(directory),
    fence: 'sole',
    dump: async () => {
      const files = await readdir(directory)
      const texts = await Promise.all(files.map((file) => readFile(join(directory, file), 'utf8')))
      return [...files, ...texts].join('\n')
    },
    // A directory has no half: the fate without the record is what a torn purge leaves.
    damage: (id, record) => writeFile(join(directory, `${id}.json`), record ?? '', { mode: 0o600 }),
    close: () => rm(directory, { recursive: true }),
  }
}

async function openRedisLab(): Promise<JoinTokenLab> {
  const server = await RedisServer.open()
  const redis = await server.connect()
  await redis.command('SET', 'mesh:fence', '2')
  const links: RedisLink[] = []
  return {
    open: () => {
      const link = new RedisLink(() => server.connect())
      links.push(link)
      return openJoinTokenRedis(link, 'mesh')
    },
    fence: '2',
    dump: async () => {
      const keys = (await redis.command('KEYS', '*')) as string[] // as: what KEYS answers
      const texts = await Promise.all(
        keys.map(async (key) => {
          const type = await redis.command('TYPE', key)
          if (type === 'hash') return await redis.command('HGETALL', key)
          if (type === 'set') return await redis.command('SMEMBERS', key)
          return type === 'zset' ? await redis.command('ZRANGE', key, 0, -1) : await redis.command('GET', key)
        }),
      )
      return JSON.stringify([keys, texts])
    },
    damage: async (id, record) => {
      const key = `mesh:join-token:${id}`
      if (record !== null) await redis.command('HSET', key, 'record', record)
      else {
        await redis.command('HDEL', key, 'record')
        await redis.command('HSET', key, 'used', '1')
      }
    },
    close: async () => {
      await Promise.all(links.map((link) => link.close()))
      redis.close()
      await server.close()
    },
  }
}

testJoinTokenStore(t, 'directory', openDirectoryLab, null)
testJoinTokenStore(t, 'redis', openRedisLab, '1')
