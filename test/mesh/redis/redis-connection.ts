// SPDX-License-Identifier: Apache-2.0
// Against real redis-servers: what goes wrong on the way has a reason code that says what to mend.
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { connectRedis } from '../../../mesh/redis/redis-connection.ts'
import { redisError } from '../../../mesh/redis/redis-error.ts'
import { RedisServer, type RedisServerOptions } from '../../support/redis-server.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

async function openServer(t: Test, options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.open(options)
  t.teardown(() => server.close())
  return server
}

t.test('commands, scripts and messages arrive', async (t) => {
  const server = await openServer(t)
  const [redis, listener] = [await server.connect(), await server.connect()]
  t.equal(await redis.command('SET', 'a', 1), 'OK')
  t.equal(await redis.script("return redis.call('GET', KEYS[1]) .. ARGV[1]", ['a'], ['!']), '1!')
  const { promise, resolve } = Promise.withResolvers<string>()
  await listener.subscribe('news', resolve)
  await redis.command('PUBLISH', 'news', 'hello')
  t.equal(await promise, 'hello')
  t.ok(await listener.command('PING'), 'a listener can still be asked for a sign of life')
  redis.close()
  listener.close()
  t.equal((await redis.closed).code, 'REDIS_UNAVAILABLE')
  await t.rejects(redis.command('PING'), { code: 'REDIS_UNAVAILABLE' })
})

t.test('a server that is not there, or says nothing, is unavailable', async (t) => {
  const server = await openServer(t)
  await server.kill()
  await t.rejects(server.connect(), { code: 'REDIS_UNAVAILABLE', retryable: true, detail: /ECONNREFUSED/ })
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  await new Promise((resolve) => silent.once('listening', resolve))
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo // as: TCP
  await t.rejects(connectRedis({ host: '127.0.0.1', port, commandTimeoutMs: 200 }), {
    code: 'REDIS_UNAVAILABLE',
  })
})

t.test('a connection that breaks says so, also to those who wait for an answer', async (t) => {
  const server = await openServer(t)
  const redis = await server.connect({ commandTimeoutMs: 300 })
  server.freeze()
  await t.rejects(redis.command('PING'), { code: 'REDIS_UNAVAILABLE', detail: /timed out/ })
  server.thaw()
  await server.kill()
  t.equal((await redis.closed).code, 'REDIS_UNAVAILABLE')
})

t.test('users, passwords and commands that the ACL refuses are denied', async (t) => {
  const user =
    'user mesh on >right ~sidestep:* &sidestep:* +@read +@write +@scripting +@pubsub +ping +info -@dangerous'
  const server = await openServer(t, { config: ['user default off', user] })
  await t.rejects(server.connect(), { code: 'REDIS_DENIED' })
  await t.rejects(server.connect({ username: 'mesh', password: 'wrong' }), { code: 'REDIS_DENIED' })
  await t.rejects(server.connect({ username: 'nobody', password: 'right' }), { code: 'REDIS_DENIED' })
  const redis = await server.connect({ username: 'mesh', password: 'right' })
  t.equal(await redis.command('SET', 'sidestep:a', 1), 'OK')
  await t.rejects(redis.command('SET', 'other:a', 1), { code: 'REDIS_DENIED', detail: /NOPERM/ })
  await t.rejects(redis.command('FLUSHALL'), { code: 'REDIS_DENIED' })
  await t.rejects(
    redis.subscribe('other:changes', () => undefined),
    { code: 'REDIS_DENIED' },
  )
  redis.close()
})

t.test('TLS verifies the server, and its failure is told apart', async (t) => {
  const [own, other] = [await serverCertificate(), await serverCertificate()]
  const tls = { cert: own.certificatePem, key: own.privateKeyPem, ca: own.rootPem }
  const server = await openServer(t, { tls })
  const redis = await server.connect({ tls: { ca: own.rootPem } })
  t.equal(await redis.command('SET', 'a', 1), 'OK')
  redis.close()
  const named = await server.connect({ tls: { ca: own.rootPem, serverName: 'localhost' } })
  named.close()
  await t.rejects(server.connect({ tls: { ca: other.rootPem } }), { code: 'REDIS_TLS' })
  await t.rejects(server.connect({ tls: { ca: '' } }), { code: 'REDIS_TLS' })
  await t.rejects(server.connect({ tls: { ca: own.rootPem, serverName: 'elsewhere' } }), {
    code: 'REDIS_TLS',
  })
  await t.rejects(server.connect(), { code: 'REDIS_UNAVAILABLE' }, 'plaintext on a port that speaks TLS')
  const plain = await openServer(t)
  await t.rejects(plain.connect({ tls: { ca: own.rootPem } }), { code: /REDIS_TLS|REDIS_UNAVAILABLE/ })
})

t.test('what Redis says of itself is unavailable, what makes no sense is an answer', async (t) => {
  const reply = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError' })
  for (const [message, code] of [
    ['LOADING Redis is loading the dataset in memory', 'REDIS_UNAVAILABLE'],
    ["READONLY You can't write against a read only replica.", 'REDIS_UNAVAILABLE'],
    ['OOM command not allowed', 'REDIS_UNAVAILABLE'],
    ['WRONGTYPE Operation against a key holding the wrong kind of value', 'REDIS_ANSWER'],
    ['NOAUTH Authentication required.', 'REDIS_DENIED'],
    ['FENCED a newer leader has been elected', 'FENCED'],
  ] as const) {
    t.equal(redisError(reply(message)).code, code, message)
  }
  t.equal(redisError('text').code, 'REDIS_UNAVAILABLE')
  t.equal(redisError(reply('x'.repeat(5000))).detail.length, 200)
  const known = redisError(reply('NOAUTH'))
  t.equal(redisError(known), known)
})
