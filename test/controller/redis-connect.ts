// SPDX-License-Identifier: Apache-2.0
// Against real redis-servers.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectTo } from '../../controller/redis-connect.ts'
import { RedisServer, type RedisServerOptions } from '../support/redis-server.ts'
import { serverCertificate } from '../support/server-certificate.ts'

const NOTHING = {
  ...{ redisAddresses: '', redisUser: '', redisPasswordFile: '' },
  ...{ redisCaFile: '', redisCertificateFile: '', redisKeyFile: '' },
}

async function open(t: Test, options?: RedisServerOptions): Promise<RedisServer> {
  const server = await RedisServer.open(options)
  t.teardown(() => server.close())
  return server
}

t.test('the password is read from its file for every connection', async (t) => {
  const server = await open(t, { config: ['user mesh on >right ~* &* +@all'] })
  const file = join(t.testdir(), 'password')
  writeFileSync(file, 'right\n')
  const config = {
    ...NOTHING,
    redisAddresses: `redis://127.0.0.1:${server.port}`,
    ...{ redisUser: 'mesh', redisPasswordFile: file },
  }
  const redis = await connectTo(config)
  t.equal(await redis.command('PING'), 'PONG')
  redis.close()
  for (const wrong of ['wrong', ' right', 'right\nright', 'x'.repeat(100_000)]) {
    writeFileSync(file, wrong)
    await t.rejects(connectTo(config), { code: 'REDIS_DENIED' }, wrong.slice(0, 20))
  }
  writeFileSync(file, '\n')
  await t.rejects(connectTo(config), { code: 'CONFIG_INVALID', detail: /holds no password/ })
  rmSync(file)
  await t.rejects(connectTo(config), { code: 'CONFIG_INVALID', detail: /password is unreadable/ })
})

t.test('of several addresses the first that is a primary is used', async (t) => {
  const primary = await open(t)
  const replica = await open(t, { config: [`replicaof 127.0.0.1 ${primary.port}`] })
  const gone = await open(t)
  await gone.kill()
  const redis = await connectTo({
    ...NOTHING,
    redisAddresses: [gone, replica, primary].map(({ port }) => `redis://127.0.0.1:${port}`).join(','),
  })
  t.equal(await redis.command('SET', 'x', '1'), 'OK')
  t.match(await redis.command('INFO', 'server'), new RegExp(`tcp_port:${primary.port}\\r`))
  redis.close()
  const alone = { ...NOTHING, redisAddresses: `redis://127.0.0.1:${replica.port}` }
  await t.rejects(connectTo(alone), { code: 'REDIS_UNAVAILABLE', detail: /is no primary/ })
})

t.test('TLS verifies the server with the roots of the file, and never falls back', async (t) => {
  const { certificatePem, privateKeyPem, rootPem } = await serverCertificate()
  const server = await open(t, { tls: { cert: certificatePem, key: privateKeyPem, ca: rootPem } })
  const redisCaFile = join(t.testdir(), 'ca.pem')
  writeFileSync(redisCaFile, rootPem)
  const redisAddresses = `rediss://127.0.0.1:${server.port}`
  const redis = await connectTo({ ...NOTHING, redisAddresses, redisCaFile })
  t.equal(await redis.command('PING'), 'PONG')
  redis.close()
  await t.rejects(connectTo({ ...NOTHING, redisAddresses }), { code: 'REDIS_TLS' }, 'not of the system')
  const plain = { ...NOTHING, redisAddresses: redisAddresses.replace('rediss', 'redis') }
  await t.rejects(connectTo(plain), { code: 'REDIS_UNAVAILABLE' })
})

t.test('our certificate is shown to a Redis that wants one, and read anew', async (t) => {
  const { certificatePem, privateKeyPem, rootPem } = await serverCertificate()
  const tls = { cert: certificatePem, key: privateKeyPem, ca: rootPem }
  const server = await open(t, { tls, wantsCertificate: true })
  const directory = t.testdir({ ca: rootPem, cert: certificatePem, key: privateKeyPem })
  const fileOf = (name: string): string => join(directory, name)
  const config = {
    ...NOTHING,
    redisAddresses: `rediss://localhost:${server.port}`,
    ...{ redisCaFile: fileOf('ca'), redisCertificateFile: fileOf('cert'), redisKeyFile: fileOf('key') },
  }
  const redis = await connectTo(config)
  t.equal(await redis.command('PING'), 'PONG')
  redis.close()
  const without = { ...config, redisCertificateFile: '', redisKeyFile: '' }
  await t.rejects(connectTo(without), { name: 'MeshError' }, 'without one')
  const stranger = await serverCertificate()
  writeFileSync(fileOf('cert'), stranger.certificatePem)
  writeFileSync(fileOf('key'), stranger.privateKeyPem)
  await t.rejects(connectTo(config), { name: 'MeshError' }, 'of another root')
  writeFileSync(fileOf('key'), 'nonsense')
  await t.rejects(connectTo(config), { code: 'REDIS_TLS' }, 'a key that is none')
})
