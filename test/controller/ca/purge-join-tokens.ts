// SPDX-License-Identifier: Apache-2.0
import { setImmediate } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import type { JoinTokenStore } from '../../../controller/ca/join-tokens.ts'
import { purgeJoinTokens } from '../../../controller/ca/purge-join-tokens.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const DAY_MS = 86_400_000
const NOW_MS = 100 * DAY_MS

function setUp(purge: JoinTokenStore['purge']) {
  const calls: (readonly [number, string])[] = []
  const store = {
    purge: (beforeMs: number, fence: string) => {
      calls.push([beforeMs, fence])
      return purge(beforeMs, fence)
    },
  } as unknown as JoinTokenStore // as: the duty needs no more
  const clock = new ManualClock(NOW_MS)
  return { calls, clock, duty: purgeJoinTokens({ store, clock, log: pino({ level: 'silent' }) }) }
}

t.test('the leader looks at once and every ten minutes, with its token, until it is stopped', async (t) => {
  const { calls, clock, duty } = setUp(async () => 1)
  duty.start(() => '7')
  await setImmediate()
  t.same(calls, [[NOW_MS - DAY_MS, '7']])
  clock.advance(600_000)
  await setImmediate()
  t.same(calls[1], [NOW_MS - DAY_MS + 600_000, '7'])
  await duty.stop()
  clock.advance(DAY_MS)
  await setImmediate()
  t.equal(calls.length, 2)
  duty.start(() => '8')
  await setImmediate()
  t.equal(calls[2]?.[1], '8', 'it can begin again')
  await duty.stop()
})

t.test('who does not lead any more purges nothing; a store that is away is asked again', async (t) => {
  let fence: string | null = null
  const { calls, clock, duty } = setUp(async () => {
    throw new MeshError('REDIS_UNAVAILABLE', { detail: 'away' })
  })
  duty.start(() => fence)
  await setImmediate()
  t.same(calls, [])
  fence = '3'
  for (let round = 1; round <= 3; round++) {
    clock.advance(600_000)
    await setImmediate()
    t.equal(calls.length, round)
  }
  await duty.stop()
})
