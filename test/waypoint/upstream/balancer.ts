// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type Balanced, Balancer, type PickFacts } from '../../../waypoint/upstream/balancer.ts'
import { Latency } from '../../../waypoint/upstream/endpoint-load.ts'
import type { Algorithm, BalancingSettings } from '../../../waypoint/upstream/upstream-settings.ts'

interface Fake extends Balanced {
  isEjected: boolean
  outstanding: number
}

function fake(uid: string, facts: Partial<Fake> = {}): Fake {
  return {
    ...{ uid, rank: 0, localityRank: 0, weight: 1, capacity: 1, sinceMs: Number.NEGATIVE_INFINITY },
    ...{ isEjected: false, ip: `ip-${uid}`, outstanding: 0, latency: new Latency() },
    ...facts,
  }
}

const using = (algorithm: Algorithm, facts: Partial<BalancingSettings> = {}): BalancingSettings => ({
  ...{ algorithm, hashSource: null, tableSize: 1_009, warmUpMs: 0, minHealthPercent: 0 },
  ...facts,
})
const ANY: PickFacts = { hash: null, exclude: null, askedIp: null }

/** The same numbers in every run, evenly spread. */
function seeded(): () => number {
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

function shares(balancer: Balancer<Fake>, nowMs = 0, picks = 4_000, facts = ANY): Record<string, number> {
  const found: Record<string, number> = {}
  for (let i = 0; i < picks; i++) {
    const uid = balancer.pick(facts, nowMs)?.uid ?? 'nobody'
    found[uid] = (found[uid] ?? 0) + 100 / picks
  }
  return Object.fromEntries(Object.entries(found).map(([uid, share]) => [uid, Math.round(share / 5) * 5]))
}

t.test('every algorithm gives each its share by weight', async (t) => {
  const list = [fake('a'), fake('b', { weight: 3 }), fake('none', { weight: 0 })]
  for (const algorithm of [
    'round-robin',
    'least-request',
    'random',
    'passthrough',
    'ring-hash',
    'maglev',
  ] as const)
    t.same(shares(new Balancer(list, using(algorithm), seeded())), { a: 25, b: 75 }, algorithm)
})

t.test('nobody, nobody with a weight', async (t) => {
  t.equal(new Balancer([], using('random'), seeded()).pick(ANY, 0), null)
  t.equal(
    new Balancer([fake('a', { weight: 0 })], using('maglev'), seeded()).pick({ ...ANY, hash: 'x' }, 0),
    null,
  )
})

t.test('the endpoint that was asked for by address', async (t) => {
  const list = [fake('a'), fake('b'), fake('c', { isEjected: true })]
  const asked = (ip: string, algorithm: Algorithm) =>
    new Balancer(list, using(algorithm), () => 0).pick({ ...ANY, askedIp: ip }, 0)?.uid
  t.equal(asked('ip-b', 'passthrough'), 'b')
  t.equal(asked('ip-c', 'passthrough'), 'c')
  t.equal(asked('elsewhere', 'passthrough'), 'a')
  t.equal(asked('ip-b', 'random'), 'a')
})

t.test('the nearest serve while enough of them are in use, then the next help', async (t) => {
  const near = Array.from({ length: 4 }, (_, i) => fake(`near${i}`))
  const far = [fake('far', { localityRank: 1 })]
  const all = new Balancer([...far, ...near], using('random'), seeded())
  t.notOk('far' in shares(all))
  for (const each of near.slice(0, 1)) each.isEjected = true
  all.refresh()
  t.notOk('far' in shares(all), 'three of four are enough')
  for (const each of near.slice(0, 2)) each.isEjected = true
  all.refresh()
  t.equal(shares(all).far, 30)
  for (const each of near) each.isEjected = true
  all.refresh()
  t.same(shares(all), { far: 100 })
  const excluded = all.pick({ ...ANY, exclude: new Set(['far']) }, 0)
  t.equal(excluded?.uid, 'far', 'again, for there is nobody else')
})

t.test('by key too, and the same keys', async (t) => {
  const near = Array.from({ length: 4 }, (_, i) => fake(`near${i}`))
  const balancer = new Balancer([...near, fake('far', { localityRank: 1 })], using('ring-hash'), seeded())
  const keys = Array.from({ length: 500 }, (_, i) => `key ${i}`)
  const owners = () => keys.map((hash) => balancer.pick({ ...ANY, hash }, 0)?.uid)
  const before = owners()
  t.notOk(before.includes('far'))
  for (const each of near.slice(0, 2)) each.isEjected = true
  balancer.refresh()
  const after = owners()
  t.same(owners(), after)
  const far = after.filter((uid) => uid === 'far').length / keys.length
  t.ok(Math.abs(far - 0.3) < 0.06, `${far}`)
  t.ok(
    after.every(
      (uid, i) =>
        uid === before[i] || uid === 'far' || near[0]?.uid === before[i] || near[1]?.uid === before[i],
    ),
  )
})

t.test('with too few in use all are used, as with none', async (t) => {
  const list = [fake('a', { isEjected: true }), fake('b', { isEjected: true }), fake('c')]
  t.same(shares(new Balancer(list, using('round-robin'), seeded())), { c: 100 })
  const all = new Balancer(list, using('round-robin', { minHealthPercent: 50 }), seeded())
  t.same(shares(all), { a: 35, b: 35, c: 35 })
  const keyed = new Balancer(list, using('maglev', { minHealthPercent: 50 }), seeded())
  const owners = new Set(Array.from({ length: 50 }, (_, i) => keyed.pick({ ...ANY, hash: `${i}` }, 0)?.uid))
  t.equal(owners.size, 3)
  for (const each of list) each.isEjected = true
  all.refresh()
  t.same(shares(all), { a: 35, b: 35, c: 35 })
})

t.test('a new endpoint warms up', async (t) => {
  const list = [fake('old'), fake('new', { sinceMs: 0 })]
  for (const algorithm of ['round-robin', 'least-request'] as const) {
    const balancer = new Balancer(list, using(algorithm, { warmUpMs: 60_000 }), seeded())
    const at = (nowMs: number) => shares(balancer, nowMs).new
    t.same([0, 30_000, 60_000].map(at), [10, 35, 50], algorithm)
  }
})

t.test('keys are not moved by one that warms up', async (t) => {
  for (const algorithm of ['ring-hash', 'maglev'] as const) {
    const keys = Array.from({ length: 200 }, (_, i) => `key ${i}`)
    const owners = (balancer: Balancer<Fake>) =>
      keys.map((hash) => balancer.pick({ ...ANY, hash }, 0)?.uid).join()
    const warm = new Balancer([fake('old'), fake('new')], using(algorithm), seeded())
    const list = [fake('old'), fake('new', { sinceMs: 0 })]
    const warming = new Balancer(list, using(algorithm, { warmUpMs: 60_000 }), seeded())
    t.equal(owners(warming), owners(warm), algorithm)
  }
})

t.test('the least busy is found, the tried is left out', async (t) => {
  const list = [fake('busy', { outstanding: 9 }), fake('free')]
  const balancer = new Balancer(list, using('least-request'), seeded())
  t.same(shares(balancer), { free: 95, busy: 5 })
  t.same(shares(balancer, 0, 100, { ...ANY, exclude: new Set(['free']) }), { busy: 100 })
})

t.test('whoever is there, somebody in use and untried is chosen where there is one', async (t) => {
  const one = fc.record({
    weight: fc.nat(3),
    localityRank: fc.nat(2),
    isEjected: fc.boolean(),
    isTried: fc.boolean(),
  })
  const algorithms = fc.constantFrom<Algorithm>(
    'round-robin',
    'least-request',
    'random',
    'ring-hash',
    'maglev',
  )
  fc.assert(
    fc.property(
      fc.array(one, { maxLength: 8 }),
      algorithms,
      fc.option(fc.string()),
      (ones, algorithm, hash) => {
        const list = ones.map((each, i) => fake(`e${i}`, each))
        const exclude = new Set(list.filter((_, i) => ones[i]?.isTried).map(({ uid }) => uid))
        const balancer = new Balancer(list, using(algorithm, { tableSize: 11 }), seeded())
        const picked = balancer.pick({ ...ANY, hash, exclude }, 0)
        const usable = list.filter(({ weight }) => weight > 0)
        const inUse = usable.filter(({ isEjected }) => !isEjected)
        const best = (inUse.length > 0 ? inUse : usable).filter(({ uid }) => !exclude.has(uid))
        if (picked === null) return usable.length === 0
        return best.length > 0 ? best.includes(picked) : usable.includes(picked)
      },
    ),
    { numRuns: 500 },
  )
  t.pass()
})
