// SPDX-License-Identifier: Apache-2.0
// Two controllers as processes on one real Redis and one directory of the CA: who leads, what nodes notice when one
// dies or Redis goes away, and that nobody acts in the name of a lead that is over.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openJoinTokenRedis } from '../../controller/ca/join-token-redis.ts'
import { RedisStore } from '../../controller/watch/redis-store.ts'
import { ControllerLink } from '../../mesh/control/controller-link.ts'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import { RedisLink } from '../../mesh/redis/redis-link.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { ControllerReplica } from '../support/controller-replica.ts'
import { followControllers } from '../support/following-node.ts'
import { poll } from '../support/mesh-lab.ts'
import { RedisServer } from '../support/redis-server.ts'
import { requestUnix } from '../support/unix-http.ts'

// A Redis that was started just now elects nobody for a few seconds, in every test.
t.setTimeout(120_000)

const log = pino({ level: 'silent' })
const CART = 'spiffe://cluster.local/ns/shop/sa/cart'
/** A new leader within this time after the old one died. */
const FAILOVER_MS = 5_000

interface Lab {
  readonly server: RedisServer
  readonly replicas: readonly [ControllerReplica, ControllerReplica]
  readonly directory: string
  readonly rootsFile: string
  /** Writes the service cart with this port. */
  readonly write: (port: number) => Promise<void>
}

const serviceOf = (port: number): Record<string, unknown> => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'cart', namespace: 'shop' },
  spec: { clusterIP: '10.96.0.7', clusterIPs: ['10.96.0.7'], ports: [{ port, targetPort: 8080 }] },
})

async function openLab(t: Test): Promise<Lab> {
  const server = await RedisServer.open({
    config: ['appendonly yes', 'appendfsync always', 'requirepass secret'],
  })
  t.teardown(() => server.close())
  const directory = mkdtempSync(join(tmpdir(), 'replicas-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, 'secret\n')
  const args = [
    ...['--config-source', 'redis', '--redis-addresses', `redis://127.0.0.1:${server.port}`],
    ...['--redis-password-file', passwordFile, '--ca-directory', join(directory, 'ca')],
  ]
  const write = async (port: number): Promise<void> => {
    const redis = await server.connect({ password: 'secret' })
    await new RedisStore(redis).put(serviceOf(port))
    redis.close()
  }
  await write(80)
  const replicas = [new ControllerReplica(args), new ControllerReplica(args)] as const
  for (const replica of replicas) t.teardown(() => replica.close())
  await Promise.all(replicas.map((replica) => replica.start()))
  await Promise.all(replicas.map((replica) => replica.ready()))
  const rootsFile = join(directory, 'roots.pem')
  writeFileSync(rootsFile, (await requestUnix(replicas[0].socket, 'GET', '/ca/server-roots')).body)
  return { server, replicas, directory, rootsFile, write }
}

/** The one that leads, and the other; waits until there is one. */
async function roles({
  replicas: [a, b],
}: Lab): Promise<{ leader: ControllerReplica; other: ControllerReplica }> {
  return await poll('a leader', async () => {
    if ((await a.leadership()).isLeader) return { leader: a, other: b }
    return (await b.leadership()).isLeader ? { leader: b, other: a } : null
  })
}

/** A node that joined and follows the controllers, `first` before the others. */
async function openNode(t: Test, lab: Lab, name: string, first: ControllerReplica) {
  const others = lab.replicas.filter((replica) => replica !== first)
  const addresses = [first, ...others].map(({ address }) => address)
  const tokenFile = join(lab.directory, `${name}.token`)
  writeFileSync(tokenFile, await first.joinToken(name, [CART]))
  const { rootsFile, directory } = lab
  const node = await followControllers(t, { name, addresses, rootsFile, tokenFile, directory })
  return {
    ...node,
    /** Waits until the service has this port. */
    sees: (port: number) =>
      node.sees(`port ${port}`, ({ services }) => services[0]?.ports[port] !== undefined),
    sign: (identity = CART) => node.sign(identity),
  }
}

t.test('all replicas serve and sign; when the leader is killed another leads within 5 s', async (t) => {
  const lab = await openLab(t)
  const { leader, other } = await roles(lab)
  t.equal((await other.leadership()).isLeader, false, 'one leads')
  const [one, two] = [await openNode(t, lab, 'node-a', leader), await openNode(t, lab, 'node-b', other)]
  await Promise.all([one.sees(80), two.sees(80)])
  t.equal(one.client.status().address, leader.address)
  t.equal(two.client.status().address, other.address)
  for (const node of [one, two]) t.equal((await node.sign()).identity, CART)
  t.match(leader.audit, /"node":"node-a".*"signed"/)
  t.match(other.audit, /"node":"node-b".*"signed"/)

  const killedMs = performance.now()
  await leader.kill()
  await poll('the other leads', async () => (await other.leadership()).isLeader || null)
  const tookMs = Math.round(performance.now() - killedMs)
  t.comment(`failover took ${tookMs} ms`)
  t.ok(tookMs < FAILOVER_MS, `${tookMs} ms`)
  await lab.write(81)
  await Promise.all([one.sees(81), two.sees(81)])
  t.equal(one.client.status().address, other.address)
  t.equal((await one.sign()).identity, CART, 'with the certificate that the dead one gave it')

  await leader.start()
  await leader.ready()
  const { fence } = await other.leadership()
  await other.stop()
  const next = await poll('the one that came back leads', async () => (await leader.leadership()).fence)
  t.ok(Number(next) > Number(fence), 'with a greater token')
  await lab.write(82)
  await Promise.all([one.sees(82), two.sees(82)])
})

t.test('a leader that slept through its end does nothing when it wakes', async (t) => {
  const lab = await openLab(t)
  const { leader, other } = await roles(lab)
  const { fence: old } = await leader.leadership()
  leader.freeze()
  const { fence } = await poll('the other leads', async () => {
    const now = await other.leadership()
    return now.isLeader ? now : null
  })
  leader.thaw()
  t.same(await leader.leadership(), { isLeader: false, fence: null }, 'it knows at once')
  t.same(await other.leadership(), { isLeader: true, fence }, 'and took nothing back')
  // What it might have had under way is refused by Redis, whatever it believes.
  const link = new RedisLink(() => lab.server.connect({ password: 'secret' }))
  t.teardown(() => link.close())
  const tokens = openJoinTokenRedis(link, 'sidestep')
  t.ok(await leader.joinToken('node-a', []))
  await t.rejects(tokens.purge(Number.MAX_SAFE_INTEGER, old ?? ''), { code: 'FENCED' })
  await t.rejects(
    link.use((redis) => new RedisStore(redis).put(serviceOf(99), old ?? '')),
    { code: 'FENCED' },
  )
  t.equal((await tokens.list()).length, 1)
  t.equal(await tokens.purge(Number.MAX_SAFE_INTEGER, fence ?? ''), 1)
})

t.test(
  'Redis goes and comes back under traffic: nobody is restarted, nothing is signed wrongly',
  async (t) => {
    const lab = await openLab(t)
    const [a, b] = lab.replicas
    const node = await openNode(t, lab, 'node-a', a)
    await node.sees(80)
    await node.sign()
    const late = await b.joinToken('node-b', [CART])
    const signedBefore = countSigned(lab)

    await lab.server.kill()
    for (const replica of lab.replicas) {
      await poll('Redis is missed', async () => {
        const source = await replica.ask<{ unreachable: string | null }>('/source')
        return source?.unreachable ?? null
      })
      await poll('nobody leads', async () => !(await replica.leadership()).isLeader || null)
      const published = await replica.ask<{ services: string[] }>('/published')
      t.same(published?.services, ['shop/cart.shop.svc.cluster.local'], 'the last good configuration stays')
      t.ok(await replica.ask('/ready'))
    }
    t.ok(node.client.status().isConnected, 'streams stay')
    t.equal(node.last()?.services[0]?.ports[80], 8080)
    // Who may have what cannot be looked up: so nothing is signed, and it is not the caller's fault.
    await t.rejects(node.sign(), /status 14/)
    const refused = await requestUnix(b.socket, 'POST', '/join-tokens', { node: 'node-c', identities: [] })
    t.match(refused, { status: 503, body: /"reason":"REDIS_UNAVAILABLE"/ })
    t.equal(countSigned(lab), signedBefore)

    await lab.server.start()
    await lab.write(83)
    await node.sees(83)
    t.equal((await node.sign()).identity, CART)
    await roles(lab)
    // A token that was made before is still good, once.
    writeFileSync(join(lab.directory, 'node-b.token'), late)
    const join1 = (name: string) =>
      new ControllerLink({
        controllerAddresses: [],
        ...{ caAddresses: [a.address, b.address], rootsFile: lab.rootsFile, clusterId: 'Kubernetes' },
        ...{
          tokenFile: join(lab.directory, 'node-b.token'),
          nodeName: 'node-b',
          trustDomain: 'cluster.local',
        },
        stateDirectory: join(lab.directory, name),
        ...{ requests: certificateRequests, clock: systemClock, random: () => 0, log },
      })
    const [first, thief] = [join1('first'), join1('thief')]
    t.teardown(() => first.close())
    t.teardown(() => thief.close())
    await first.start()
    await first.credentials()
    await thief.start()
    await t.rejects(thief.credentials(), /status 16/)
  },
)

t.test('garbage in Redis takes nothing that was good, and a wrong password is told', async (t) => {
  const lab = await openLab(t)
  const [a] = lab.replicas
  const node = await openNode(t, lab, 'node-a', a)
  await node.sees(80)
  const redis = await lab.server.connect({ password: 'secret' })
  t.teardown(() => redis.close())
  for (const garbage of ['', '{', 'null', '[]', '\u0000', JSON.stringify({ kind: 'Service' })]) {
    await redis.command('HSET', 'sidestep:objects:Service', 'shop/cart', garbage)
    const version = await redis.command('INCR', 'sidestep:version')
    await redis.command('PUBLISH', 'sidestep:changes', `${version} Service shop/cart`)
    await redis.command('PUBLISH', 'sidestep:changes', garbage)
  }
  await poll('the mistake is told', async () => {
    const { mistakes } = (await a.ask<{ mistakes: unknown[] }>('/findings')) ?? { mistakes: [] }
    return mistakes.length > 0 || null
  })
  t.equal(node.last()?.services[0]?.ports[80], 8080)
  await redis.command('HSET', 'sidestep:join-tokens:nodes', 'node-a', '../../etc/passwd')
  await t.rejects(node.sign(), /status 16/)
  await lab.write(84)
  await node.sees(84)

  const wrong = join(lab.directory, 'wrong')
  writeFileSync(wrong, 'wrong')
  const replica = new ControllerReplica([
    ...['--config-source', 'redis', '--redis-addresses', `redis://127.0.0.1:${lab.server.port}`],
    ...['--redis-password-file', wrong, '--ca-directory', join(lab.directory, 'ca')],
  ])
  t.teardown(() => replica.close())
  await replica.start()
  const why = await poll('the reason', async () => {
    const { body } = await requestUnix(replica.socket, 'GET', '/ready')
    return body.includes('REDIS_DENIED') ? body : null
  })
  t.notMatch(why, /secret/)
  // Mended in place, without a restart.
  writeFileSync(wrong, 'secret')
  await replica.ready()
})

/** Certificates that were signed so far, by both. */
function countSigned({ replicas }: Lab): number {
  return replicas.reduce((sum, { audit }) => sum + audit.split('"event":"signed"').length - 1, 0)
}
