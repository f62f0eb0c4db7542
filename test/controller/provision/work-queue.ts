// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { WorkQueue } from '../../../controller/provision/work-queue.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A queue whose work the test ends. */
function lab(concurrency = 2) {
  const clock = new ManualClock()
  const begun: string[] = []
  const ends = new Map<string, (outcome: 'done' | number) => void>()
  const queue = new WorkQueue({
    ...{ clock, random: () => 0.5, concurrency, retryInitialMs: 100, retryMaxMs: 400 },
    work: (key) => {
      if (ends.has(key)) throw new Error(`${key} runs twice at once`)
      begun.push(key)
      const { promise, resolve } = Promise.withResolvers<'done' | number>()
      ends.set(key, resolve)
      return promise
    },
  })
  const end = async (key: string, outcome: 'done' | number = 'done'): Promise<void> => {
    const resolve = ends.get(key)
    ends.delete(key)
    resolve?.(outcome)
    await turn()
  }
  return { clock, begun, ends, queue, end }
}

t.test('a few are done at once, the others in turn', async (t) => {
  const { begun, queue, end } = lab()
  for (const key of ['a', 'b', 'c', 'd']) queue.add(key)
  t.same(begun, ['a', 'b'])
  await end('b')
  t.same(begun, ['a', 'b', 'c'])
  await end('a')
  t.same(begun, ['a', 'b', 'c', 'd'])
})

t.test('what is asked for again while it is done is done again afterwards, once', async (t) => {
  const { begun, queue, end } = lab()
  queue.add('a')
  queue.add('a')
  queue.add('a')
  t.same(begun, ['a'])
  await end('a')
  t.same(begun, ['a', 'a'])
  await end('a')
  t.same(begun, ['a', 'a'])
})

t.test('a failure waits longer and longer, not less than it was told, and keeps nobody up', async (t) => {
  const { begun, clock, queue, end } = lab(1)
  queue.add('a')
  for (const pauseMs of [100, 200, 400, 400]) {
    await end('a', 0)
    t.equal(clock.nextDelayMs, pauseMs)
    queue.add('a')
    queue.add('b')
    t.equal(begun.at(-1), 'b', 'it is not done before its time')
    await end('b')
    clock.advance(pauseMs)
    t.equal(begun.at(-1), 'a')
  }
  await end('a', 5000)
  t.equal(clock.nextDelayMs, 5000)
  clock.advance(5000)
  await end('a')
  queue.add('a')
  await end('a', 0)
  t.equal(clock.nextDelayMs, 100, 'a success forgets the failures')
})

t.test('what is forgotten is not done any more, and fails afresh', async (t) => {
  const { begun, clock, queue, end } = lab(1)
  queue.add('a')
  queue.add('b')
  queue.forget('b')
  await end('a', 0)
  queue.forget('a')
  t.equal(clock.pendingCount, 0)
  t.same(begun, ['a'])
  queue.add('a')
  t.same(begun, ['a', 'a'])
})

t.test('stop waits for what is done, and begins nothing', async (t) => {
  const { begun, clock, queue, end } = lab(1)
  queue.add('failing')
  await end('failing', 0)
  queue.add('a')
  queue.add('b')
  let isStopped = false
  const stopped = queue.stop().then(() => {
    isStopped = true
  })
  await turn()
  t.equal(isStopped, false)
  await end('a', 0)
  await stopped
  queue.add('c')
  clock.advance(60_000)
  t.same(begun, ['failing', 'a'])
  t.equal(clock.pendingCount, 0)
})

t.test(
  'whatever happens, no more than so many at once, none twice, and each is done in the end',
  async () => {
    const step = fc.oneof(
      fc.record({ add: fc.constantFrom('a', 'b', 'c', 'd', 'e') }),
      fc.record({ end: fc.nat(), outcome: fc.constantFrom<'done' | number>('done', 'done', 0, 300) }),
      fc.record({ advance: fc.nat(500) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { begun, clock, ends, queue, end } = lab(2)
        const owed = new Set<string>()
        const endOne = async (index: number, outcome: 'done' | number): Promise<void> => {
          const key = [...ends.keys()][index % Math.max(1, ends.size)]
          if (key === undefined) return
          if (outcome === 'done') owed.delete(key)
          const before = begun.length
          await end(key, outcome)
          if (begun.slice(before).includes(key)) owed.add(key)
        }
        for (const each of steps) {
          if ('add' in each) {
            owed.add(each.add)
            queue.add(each.add)
          } else if ('end' in each) await endOne(each.end, each.outcome)
          else clock.advance(each.advance)
          if (ends.size > 2) throw new Error(`${ends.size} at once`)
        }
        for (let round = 0; round < 50 && (ends.size > 0 || clock.pendingCount > 0); round++) {
          while (ends.size > 0) await endOne(0, 'done')
          clock.advance(1000)
        }
        if (owed.size > 0) throw new Error(`never done: ${[...owed]}`)
      }),
      { numRuns: 100 },
    )
  },
)
