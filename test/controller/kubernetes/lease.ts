// SPDX-License-Identifier: Apache-2.0
// The election in a world of its own: time moves by hand, the apiserver is slow, fails, and loses answers.
import fc from 'fast-check'
import t from 'tap'
import { LeaseElection } from '../../../controller/kubernetes/lease.ts'
import { decideLease, seeLease } from '../../../controller/kubernetes/lease-decision.ts'
import { ApiError, type KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TTL_MS = 3_000

t.test(
  'a lease is renewed by its holder, taken when free or silent for its time, else waited for',
  async (t) => {
    const seen = { holder: 'a', transitions: 3, version: '7', sinceMs: 1_000 }
    t.equal(decideLease(seen, 'a', 99_999, TTL_MS), 'renew')
    t.equal(decideLease({ ...seen, holder: '' }, 'a', 1_000, TTL_MS), 'take')
    t.equal(decideLease(seen, 'b', 1_000 + TTL_MS - 1, TTL_MS), 'wait')
    t.equal(decideLease(seen, 'b', 1_000 + TTL_MS, TTL_MS), 'take')
  },
)

t.test('the time counts from the first look at a version, whatever clocks the Lease names', async (t) => {
  const lease = (version: string, spec: object = {}) => ({
    metadata: { resourceVersion: version },
    spec: { holderIdentity: 'a', leaseTransitions: 4, renewTime: '2099-01-01T00:00:00.000000Z', ...spec },
  })
  const first = seeLease(lease('1'), null, 50)
  t.same(first, { holder: 'a', transitions: 4, version: '1', sinceMs: 50 })
  t.equal(seeLease(lease('1'), first, 90).sinceMs, 50)
  t.equal(seeLease(lease('2'), first, 90).sinceMs, 90)
  for (const spec of [{ holderIdentity: 5 }, { leaseTransitions: -1 }, { leaseTransitions: 'x' }])
    t.match(seeLease(lease('1', spec), null, 0), { version: '1' }, JSON.stringify(spec))
  t.same(seeLease({}, null, 1), { holder: '', transitions: 0, version: '', sinceMs: 1 })
  t.same(seeLease({ metadata: 1, spec: null }, null, 1), {
    holder: '',
    transitions: 0,
    version: '',
    sinceMs: 1,
  })
})

/** What may befall a request on its way. */
type Fate = 'answered' | 'lost' | 'answer lost'

/** One Lease with compare-and-swap, behind a network that delays and loses. */
class World {
  readonly clock = new ManualClock()
  readonly #fates: () => { readonly fate: Fate; readonly delayMs: number }
  #lease: { readonly metadata: object; readonly spec: object } | null = null
  #version = 0

  constructor(fates: () => { readonly fate: Fate; readonly delayMs: number }) {
    this.#fates = fates
  }

  /** Half of the delay before the server acts, half after. */
  async #request<T>(act: () => T): Promise<T> {
    const { fate, delayMs } = this.#fates()
    await new Promise<void>((resolve) => void this.clock.startTimer(delayMs / 2, resolve))
    if (fate === 'lost') throw new Error('no answer')
    const result = act()
    await new Promise<void>((resolve) => void this.clock.startTimer(delayMs / 2, resolve))
    if (fate === 'answer lost') throw new Error('no answer')
    return result
  }

  client(): KubernetesClient {
    const put = (value: { metadata: { resourceVersion?: string }; spec: object }, isNew: boolean): void => {
      if (isNew !== (this.#lease === null)) throw new ApiError(409, 'exists')
      if (!isNew && value.metadata.resourceVersion !== String(this.#version))
        throw new ApiError(409, 'changed')
      this.#version++
      this.#lease = { ...value, metadata: { ...value.metadata, resourceVersion: String(this.#version) } }
    }
    return {
      getJson: () =>
        this.#request(() => {
          if (this.#lease === null) throw new ApiError(404, 'none')
          return this.#lease
        }),
      create: (_: string, value: never) => this.#request(() => put(value, true)),
      replace: (_: string, value: never) => this.#request(() => put(value, false)),
    } as unknown as KubernetesClient // as: the methods that are used
  }

  elect(holder: string): LeaseElection {
    return new LeaseElection({
      ...{ client: this.client(), namespace: 'n', name: 'l', holder, clock: this.clock, ttlMs: TTL_MS },
      monotonicMs: () => this.clock.passedMs,
      random: () => 0.5,
    })
  }

  /** Lets time pass in small steps, and everything that waits for it happen. */
  async pass(ms: number, look: () => void = () => undefined): Promise<void> {
    for (let at = 0; at < ms; at += 50) {
      this.clock.advance(50)
      for (let turn = 0; turn < 12; turn++) await Promise.resolve()
      look()
    }
  }
}

t.test(
  'one of three leads; when it gives up another does at once, when it vanishes within its time',
  async (t) => {
    const world = new World(() => ({ fate: 'answered', delayMs: 20 }))
    const replicas = ['a', 'b', 'c'].map((holder) => world.elect(holder))
    const told: (string | null)[] = []
    for (const replica of replicas) replica.start((fence) => told.push(fence))
    const leader = () => replicas.filter(({ fence }) => fence !== null)
    await world.pass(1_000)
    t.equal(leader().length, 1)
    const [first] = leader()
    t.equal(first?.fence, '1')
    world.clock.jump(3_600_000)
    await world.pass(10_000)
    t.equal(leader()[0], first, 'another time of day changes nothing')
    world.clock.jump(-7_200_000)
    await world.pass(10_000)
    t.equal(leader()[0], first)
    const stopping = first?.stop()
    await world.pass(1_000)
    await stopping
    t.equal(leader().length, 1)
    t.not(leader()[0], first)
    t.equal(leader()[0]?.fence, '2', 'the token has grown')
    t.same(told, ['1', null, '2'])
    const others = Promise.all(replicas.map((replica) => replica.stop()))
    await world.pass(1_000)
    await others
  },
)

t.test('whatever is lost or late, two never lead at once, and in the end one does', async (t) => {
  const fates = fc.array(
    fc.record({
      fate: fc.constantFrom<Fate>('answered', 'answered', 'answered', 'lost', 'answer lost'),
      delayMs: fc.constantFrom(0, 20, 100, 400, 1_200, 2_800),
    }),
    { minLength: 20, maxLength: 120 },
  )
  await fc.assert(
    fc.asyncProperty(fates, async (all) => {
      let at = 0
      const world = new World(() => all[at++] ?? { fate: 'answered', delayMs: 10 })
      const replicas = ['a', 'b', 'c'].map((holder) => world.elect(holder))
      const fences: number[] = []
      for (const replica of replicas) replica.start((fence) => fence !== null && fences.push(Number(fence)))
      await world.pass(30_000, () => {
        const leaders = replicas.filter(({ fence }) => fence !== null)
        if (leaders.length > 1) throw new Error('two leaders')
      })
      while (at < all.length) await world.pass(1_000)
      await world.pass(15_000)
      t.equal(replicas.filter(({ fence }) => fence !== null).length, 1)
      t.same(
        fences,
        [...new Set(fences)].toSorted((left, right) => left - right),
        'every leadership has a greater token',
      )
      const stopped = Promise.all(replicas.map((replica) => replica.stop()))
      await world.pass(6_000)
      await stopped
    }),
    { numRuns: 40 },
  )
})
