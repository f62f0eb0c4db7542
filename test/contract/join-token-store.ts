// SPDX-License-Identifier: Apache-2.0
// Every store of join tokens against one suite.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openJoinTokenDirectory } from '../../controller/ca/join-token-directory.ts'
import { openJoinTokenDocument } from '../../controller/ca/join-token-document.ts'
import { openJoinTokenRedis } from '../../controller/ca/join-token-redis.ts'
import { openDirectoryKeyStore } from '../../controller/ca/key-store.ts'
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

/** One text of a KeyStore, as a Secret is one; here in a directory. */
async function openDocumentLab(): Promise<JoinTokenLab> {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-tokens-'))
  const keys = openDirectoryKeyStore(directory)
  const read = async () => {
    const stored = await keys.read('join-tokens')
    if (stored === null) throw new Error('nothing is stored')
    return stored
  }
  return {
    open: () => openJoinTokenDocument(openDirectoryKeyStore(directory)),
    fence: 'sole',
    dump: async () => (await read()).text,
    damage: async (id, record) => {
      const { text, version } = await read()
      const document = JSON.parse(text)
      const { record: _, ...fate } = document.tokens[id]
      document.tokens[id] = record === null ? fate : { ...fate, record }
      await keys.write('join-tokens', JSON.stringify(document), version)
    },
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
testJoinTokenStore(t, 'one text', openDocumentLab, null)
testJoinTokenStore(t, 'redis', openRedisLab, '1')

t.test('one text: a document that is none is not overwritten, and has an end', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-tokens-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const keys = openDirectoryKeyStore(directory)
  const store = openJoinTokenDocument(keys)
  const record = (index: number) => ({
    id: index.toString(16).padStart(24, '0'),
    secretHash: '0'.repeat(64),
    node: `vm${index}`,
    allowedIdentities: Array.from({ length: 1_000 }, (_, at) => `spiffe://cluster.local/ns/shop/sa/a${at}`),
    createdAtMs: 0,
    expiresAtMs: 1,
  })
  let count = 0
  await t.rejects(
    async () => {
      for (; count < 100; count++) await store.add(record(count))
    },
    { code: 'REQUEST_INVALID' },
  )
  t.equal((await store.list()).length, count)
  t.equal(await store.purge(2, 'sole'), count)
  for (const text of ['', 'null', '[]', '{"tokens":{}}', '{"tokens":{"x":{}},"nodes":{}}']) {
    const stored = await keys.read('join-tokens')
    await keys.write('join-tokens', text, stored?.version ?? null)
    await t.rejects(store.add(record(1)), { code: 'CA_KEY' }, text)
    await t.rejects(store.list(), { code: 'CA_KEY' }, text)
  }
})

t.test('one text: a token whose node has joined anew is forgotten with the others', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-tokens-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const store = openJoinTokenDocument(openDirectoryKeyStore(directory))
  const ids = ['a', 'b'].map((letter) => letter.repeat(24))
  for (const id of ids) {
    const rest = { allowedIdentities: [], createdAtMs: 0, expiresAtMs: 1 }
    await store.add({ id, secretHash: '0'.repeat(64), node: 'vm', ...rest })
    await store.claim(id, '0'.repeat(64))
  }
  t.equal(await store.purge(2, 'sole'), 1)
  t.match(await store.findByNode('vm'), { id: ids[1] })
})
