// SPDX-License-Identifier: Apache-2.0
// Against a real redis-server; time is the real one, short.
import t, { type Test } from 'tap'
import { LeaderLock } from '../../../controller/watch/leader-lock.ts'
import { RedisStore } from '../../../controller/watch/redis-store.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { serviceValue } from '../../support/config-objects.ts'
import { RedisServer } from '../../support/redis-server.ts'

const TTL_MS = 1_000
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Looks until it is true, for 20 s at most. */
async function until(what: string, isTrue: () => boolean): Promise<void> {
  const startedMs = performance.now()
  while (!isTrue()) {
    if (performance.now() - startedMs > 20_000) throw new Error(`not seen: ${what}`)
    await wait(5)
  }
}

/** Replicas on one server, and whether two of them ever led at once. */
async function openLab(t: Test) {
  const server = await RedisServer.open()
  const replicas: { holder: string; lock: LeaderLock; isCut: boolean; told: (string | null)[] }[] = []
  let most = 0
  const leaders = (): string[] =>
    replicas.filter(({ lock }) => lock.fence !== null).map(({ holder }) => holder)
  const watch = setInterval(() => {
    most = Math.max(most, leaders().length)
  }, 1)
  t.teardown(async () => {
    clearInterval(watch)
    await Promise.all(replicas.map(({ lock }) => lock.stop()))
    await server.close()
  })
  const join = (holder: string) => {
    const replica = { holder, isCut: false, told: [] as (string | null)[] }
    const lock = new LeaderLock({
      connect: async () => await server.connect({ commandTimeoutMs: 300 }),
      ...{
        clock: systemClock,
        monotonicMs: () => performance.now(),
        random: Math.random,
        holder,
        ttlMs: TTL_MS,
      },
      onChange: (fence) => {
        replica.told.push(fence)
        most = Math.max(most, leaders().length)
      },
    })
    const joined = { ...replica, lock }
    replicas.push(joined)
    lock.start()
    return joined
  }
  return { server, join, leaders, mostAtOnce: () => most }
}

t.test('one of several leads; when it leaves another leads at once, with a greater token', async (t) => {
  const { join, leaders, mostAtOnce } = await openLab(t)
  const replicas = ['a', 'b', 'c'].map(join)
  await until('a leader', () => leaders().length === 1)
  const first = replicas.find(({ holder }) => holder === leaders()[0])
  const token = Number(first?.lock.fence)
  t.ok(token > 0)
  await wait(2 * TTL_MS)
  t.equal(first?.lock.fence, String(token), 'the lead is renewed')
  const startedMs = performance.now()
  await first?.lock.stop()
  t.equal(first?.lock.fence, null)
  await until('the next', () => leaders().length === 1)
  t.comment(`the next led after ${Math.round(performance.now() - startedMs)} ms of the ${TTL_MS} a key lives`)
  const next = replicas.find(({ holder }) => holder === leaders()[0])
  t.ok(Number(next?.lock.fence) > token)
  t.same(first?.told, [String(token), null])
  t.equal(mostAtOnce(), 1)
})

t.test('a server that does not answer ends the lead before another can have it', async (t) => {
  const { server, join, leaders, mostAtOnce } = await openLab(t)
  const a = join('a')
  await until('a leads', () => leaders().length === 1)
  const b = join('b')
  server.freeze()
  const frozenMs = performance.now()
  await until('a gave up', () => a.lock.fence === null)
  t.comment(`given up after ${Math.round(performance.now() - frozenMs)} ms of the ${TTL_MS} a key lives`)
  await until('it is told so', () => a.told.at(-1) === null)
  server.thaw()
  await until('somebody leads', () => leaders().length === 1)
  t.equal(mostAtOnce(), 1)
  t.ok(b.told.length <= 1)
})

t.test('a server that was killed and forgot everything does not make two leaders', async (t) => {
  const { server, join, leaders, mostAtOnce } = await openLab(t)
  const replicas = ['a', 'b', 'c'].map(join)
  const tokens = (): string[] => replicas.flatMap(({ lock }) => lock.fence ?? [])
  await until('a leader', () => leaders().length === 1)
  for (let round = 0; round < 3; round++) {
    const [before] = tokens()
    await server.kill()
    await server.start()
    await until('another election', () => tokens().some((each) => each !== before))
  }
  t.equal(mostAtOnce(), 1)
  await wait(TTL_MS)
  t.equal(leaders().length, 1)
})

t.test('tokens grow although the counter was lost', async (t) => {
  const { server, join, leaders } = await openLab(t)
  const tokens: number[] = []
  for (const holder of ['a', 'b']) {
    const { lock } = join(holder)
    await until('leads', () => leaders().length === 1)
    tokens.push(Number(lock.fence))
    await server.kill()
    await until('does not lead', () => leaders().length === 0)
    await lock.stop()
    await server.start()
  }
  t.ok((tokens[1] ?? 0) > (tokens[0] ?? 0), tokens.join())
})

t.test('a leader of yesterday writes nothing', async (t) => {
  const { server, join, leaders } = await openLab(t)
  const a = join('a')
  await until('a leads', () => leaders().length === 1)
  const old = a.lock.fence ?? ''
  const redis = await server.connect()
  t.teardown(() => redis.close())
  const store = new RedisStore(redis)
  await store.put(serviceValue('cart'), old)
  await a.lock.stop()
  const b = join('b')
  await until('b leads', () => leaders().length === 1)
  await t.rejects(store.put(serviceValue('cart', 81), old), { code: 'FENCED', retryable: false })
  await t.rejects(store.delete({ group: '', kind: 'Service', namespace: 'shop', name: 'cart' }, old), {
    code: 'FENCED',
  })
  await store.put(serviceValue('cart', 82), b.lock.fence ?? '')
  t.match(await redis.command('HGET', 'sidestep:objects:Service', 'shop/cart'), '82')
})

t.test('a lock that somebody else holds is neither renewed nor released', async (t) => {
  const { server, join, leaders } = await openLab(t)
  const a = join('a')
  await until('a leads', () => leaders().length === 1)
  const redis = await server.connect()
  t.teardown(() => redis.close())
  await redis.command('SET', 'sidestep:leader', 'somebody', 'PX', 60_000)
  await until('a sees it', () => a.lock.fence === null)
  await a.lock.stop()
  t.equal(await redis.command('GET', 'sidestep:leader'), 'somebody')
})
