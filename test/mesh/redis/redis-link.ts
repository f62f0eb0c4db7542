// SPDX-License-Identifier: Apache-2.0
// Against a real redis-server.
import t from 'tap'
import type { RedisConnection } from '../../../mesh/redis/redis-connection.ts'
import { RedisLink } from '../../../mesh/redis/redis-link.ts'
import { RedisServer } from '../../support/redis-server.ts'

const ping = (redis: RedisConnection): Promise<unknown> => redis.command('PING')

t.test('one connection serves all, and another one comes after it broke', async (t) => {
  const server = await RedisServer.open()
  t.teardown(() => server.close())
  let dialled = 0
  const link = new RedisLink(() => {
    dialled++
    return server.connect()
  })
  t.teardown(() => link.close())
  t.equal(dialled, 0, 'nothing is dialled before it is needed')
  t.same(await Promise.all([link.use(ping), link.use(ping), link.use(ping)]), ['PONG', 'PONG', 'PONG'])
  t.equal(dialled, 1)
  await server.kill()
  await t.rejects(link.use(ping), { code: 'REDIS_UNAVAILABLE' })
  await t.rejects(link.use(ping), { code: 'REDIS_UNAVAILABLE' })
  await server.start()
  t.equal(await link.use(ping), 'PONG')
})

t.test('a server that hangs is dialled anew, an error of a command breaks nothing', async (t) => {
  const server = await RedisServer.open()
  t.teardown(() => server.close())
  let dialled = 0
  const link = new RedisLink(() => {
    dialled++
    return server.connect({ commandTimeoutMs: 200 })
  })
  await link.use(ping)
  await t.rejects(
    link.use((redis) => redis.command('HGET', 'x')),
    { code: 'REDIS_ANSWER' },
  )
  t.equal(await link.use(ping), 'PONG')
  t.equal(dialled, 1)
  server.freeze()
  await t.rejects(link.use(ping), { code: 'REDIS_UNAVAILABLE' })
  server.thaw()
  t.equal(await link.use(ping), 'PONG')
  t.equal(dialled, 2)
  await link.close()
  await t.rejects(link.use(ping), { code: 'SHUTDOWN' })
})
