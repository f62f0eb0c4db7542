// SPDX-License-Identifier: Apache-2.0
// What only Redis does; what every source must do is in test/contract/config-source.ts.
import t, { type Test } from 'tap'
import { LeaderLock } from '../../../controller/watch/leader-lock.ts'
import { RedisSource } from '../../../controller/watch/redis.ts'
import { parseChange } from '../../../controller/watch/redis-keys.ts'
import { RedisStore } from '../../../controller/watch/redis-store.ts'
import type { RedisOptions } from '../../../mesh/redis/redis-connection.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { policyValue, serviceValue } from '../../support/config-objects.ts'
import { RecordingSink } from '../../support/recording-sink.ts'
import { RedisServer, type RedisServerOptions } from '../../support/redis-server.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

async function openLab(t: Test, config: RedisServerOptions = {}, user: Partial<RedisOptions> = {}) {
  const server = await RedisServer.open(config)
  const sink = new RecordingSink()
  const connect = () => server.connect({ commandTimeoutMs: 500, ...user })
  const timing = { lookIntervalMs: 300, retryMs: 20, maxRetryMs: 100 }
  const source = new RedisSource({ connect, clock: systemClock, random: Math.random, timing })
  t.teardown(async () => {
    await source.stop()
    await server.close()
  })
  const start = async (): Promise<void> => {
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
  }
  /** A writer for one piece of work. */
  const write = async (work: (store: RedisStore) => Promise<void>): Promise<void> => {
    const redis = await connect()
    await work(new RedisStore(redis)).finally(() => redis.close())
  }
  return { server, sink, start, write, connect }
}

t.test('what a store writes all sources read, without listing again', async (t) => {
  const { sink, start, write } = await openLab(t)
  await start()
  const before = sink.calls.length
  await write(async (store) => {
    for (let index = 0; index < 50; index++) await store.put(serviceValue(`s${index}`))
    await store.delete({ group: '', kind: 'Service', namespace: 'shop', name: 's7' })
    await store.delete({ group: '', kind: 'Service', namespace: 'shop', name: 'never' })
  })
  await sink.until('all', () => sink.calls.includes('remove Service/shop/s7'))
  t.equal(sink.names('Service').length, 49)
  const calls = sink.calls.slice(before)
  t.same(
    calls.filter((call) => call.startsWith('replace')),
    [],
  )
  t.equal(calls.filter((call) => call.startsWith('apply')).length, 50)
})

t.test('a store takes no broken object', async (t) => {
  const { write } = await openLab(t)
  for (const value of [
    serviceValue('a', 'x'),
    null,
    { kind: 'Secret' },
    policyValue('p', { action: 'DENNY' }),
  ])
    await t.rejects(
      write((store) => store.put(value)),
      { code: 'CONFIG_INVALID' },
    )
})

t.test('a change whose message was lost is found by a look', async (t) => {
  const { sink, start, connect, write } = await openLab(t)
  await write((store) => store.put(serviceValue('a')))
  await start()
  const redis = await connect()
  await redis.command('HSET', 'sidestep:objects:Service', 'shop/b', JSON.stringify(serviceValue('b')))
  await redis.command('INCR', 'sidestep:version')
  await sink.until('b', () => sink.names('Service').length === 2)
  // A hole in the numbers is found at the next message.
  await redis.command('HDEL', 'sidestep:objects:Service', 'shop/a')
  await redis.command('INCR', 'sidestep:version')
  await write((store) => store.put(serviceValue('c')))
  await sink.until('c', () => sink.names('Service').join() === 'Service/shop/b,Service/shop/c')
  redis.close()
  t.equal(sink.syncedCount, 1)
})

t.test(
  'a Redis that was killed and lost its memory is not believed until all is imported again',
  async (t) => {
    const { server, sink, start, write } = await openLab(t)
    await write((store) => store.importAll([serviceValue('a'), serviceValue('b'), policyValue('p')], 'first'))
    await start()
    t.same(sink.names('Service', 'AuthorizationPolicy').length, 3)
    await write((store) => store.put(serviceValue('c')))
    await sink.until('c', () => sink.names('Service').length === 3)
    await server.kill()
    await sink.until('away', () => sink.unreachable !== null)
    await server.start()
    await sink.until('lost', () => sink.unreachable?.includes('lost its memory') === true)
    await write((store) => store.put(serviceValue('alone')))
    await new Promise((resolve) => setTimeout(resolve, 800))
    t.equal(sink.names('Service', 'AuthorizationPolicy').length, 4, 'what was read stays')
    t.match(sink.unreachable, 'lost its memory')
    await write((store) => store.importAll([serviceValue('a'), policyValue('p')], 'second'))
    await sink.until('back', () => sink.unreachable === null)
    t.same(sink.names('Service', 'AuthorizationPolicy'), ['AuthorizationPolicy/shop/p', 'Service/shop/a'])
    t.equal(sink.syncedCount, 1)
  },
)

t.test('a Redis that hangs is noticed, and followed again when it goes on', async (t) => {
  const { server, sink, start, write } = await openLab(t)
  await start()
  server.freeze()
  await sink.until('away', () => sink.unreachable !== null)
  t.match(sink.unreachable, 'REDIS_UNAVAILABLE')
  server.thaw()
  await sink.until('back', () => sink.unreachable === null)
  await write((store) => store.put(serviceValue('a')))
  await sink.until('a', () => sink.names('Service').length === 1)
})

t.test('with TLS and a user of the smallest rights', async (t) => {
  const { certificatePem: cert, privateKeyPem: key, rootPem: ca } = await serverCertificate()
  const rights =
    '~sidestep:* &sidestep:* +mget +hget +hscan +subscribe +ping +eval +get +set +del +hset +hdel +incr +publish +pexpire +time +info'
  const lab = await openLab(
    t,
    { tls: { cert, key, ca }, config: ['user default off', `user mesh on >secret ${rights}`] },
    { username: 'mesh', password: 'secret', tls: { ca } },
  )
  await lab.start()
  await lab.write((store) => store.put(serviceValue('a')))
  await lab.sink.until('a', () => lab.sink.names('Service').length === 1)
  t.equal(lab.sink.unreachable, null)
  const elected = Promise.withResolvers<string | null>()
  const lock = new LeaderLock({
    ...{ connect: lab.connect, clock: systemClock, random: Math.random, holder: 'a', ttlMs: 400 },
    ...{ monotonicMs: () => performance.now(), onChange: elected.resolve },
  })
  lock.start()
  t.match(await elected.promise, /^\d+$/, 'elections too')
  await lock.stop()
})

t.test('values that are no objects, and places with other names in them, are told', async (t) => {
  const { sink, start, connect } = await openLab(t)
  const redis = await connect()
  const key = 'sidestep:objects:Service'
  await redis.command('HSET', key, 'shop/a', 'not json', 'shop/b', JSON.stringify(serviceValue('other')))
  await redis.command('HSET', key, '__proto__', '{}', 'shop/c', JSON.stringify(serviceValue('c')))
  await redis.command('HSET', key, 'shop/d', JSON.stringify(policyValue('d')))
  await start()
  t.same(sink.names('Service', 'AuthorizationPolicy'), ['Service/shop/c'])
  t.equal(new Set(sink.told.map(({ message }) => message.split(':')[0])).size, 4)
  // Texts on the channel that are none of ours make it list again, no more.
  for (const text of ['', 'x', '1 Service', '99999999999999999999 Service shop/a', '-1 Service shop/c'])
    await redis.command('PUBLISH', 'sidestep:changes', text)
  await redis.command('SET', 'sidestep:version', 'many')
  await sink.until('told', () => sink.unreachable?.includes('REDIS_ANSWER') === true)
  await redis.command('SET', 'sidestep:version', '7')
  await sink.until('back', () => sink.unreachable === null)
  t.same(sink.names('Service'), ['Service/shop/c'])
  redis.close()
})

t.test('texts of changes', async (t) => {
  t.same(parseChange('7 Service shop/cart'), { version: 7, kind: 'Service', key: 'shop/cart' })
  t.same(parseChange('7 Node /n1'), { version: 7, kind: 'Node', key: '/n1' })
  for (const text of [
    '',
    '7',
    '7 Service cart',
    'x Service a/b',
    `7 ${'x'.repeat(201)} a/b`,
    '7 Service a/b ',
  ])
    t.equal(parseChange(text), undefined, text)
})
