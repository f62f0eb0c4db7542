// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DEMAND_WAIT_MS, DemandedDestinations } from '../../ztunnel/demanded-destinations.ts'
import { ManualClock } from '../support/manual-clock.ts'

function setUp({ isConnected = true, known = [] as readonly string[] } = {}) {
  const clock = new ManualClock()
  const settled = new Set<string>()
  const used: string[] = []
  const source = {
    isConnected,
    use: (ip: string) => void used.push(ip),
    isSettled: (ip: string) => settled.has(ip),
  }
  const heard: string[] = []
  const destinations = new DemandedDestinations(source, clock, (ip) => known.includes(ip))
  const when = (ip: string, asker = 'a'): void =>
    destinations.when(ip, asker, (isAnswered) => void heard.push(`${asker} ${ip} ${isAnswered}`))
  return { clock, settled, used, heard, destinations, when }
}

t.test('a first use waits for the answer, a second one does not', async (t) => {
  const { settled, heard, destinations, when, clock } = setUp()
  when('10.0.0.1')
  when('10.0.0.1', 'b')
  when('10.0.0.2')
  destinations.onAnswers()
  t.same(heard, [])
  settled.add('10.0.0.1')
  destinations.onAnswers()
  t.same(heard, ['a 10.0.0.1 true', 'b 10.0.0.1 true'])
  when('10.0.0.1', 'c')
  t.equal(heard.at(-1), 'c 10.0.0.1 true')
  t.equal(clock.pendingCount, 1, 'of the address that is waited for')
})

t.test('when nobody answers in time, that is told, and the next one asks again', async (t) => {
  const { heard, when, clock, used } = setUp()
  when('10.0.0.1')
  when('10.0.0.1') // a worker asks again when the model changes
  clock.advance(DEMAND_WAIT_MS)
  t.same(heard, ['a 10.0.0.1 false'])
  when('10.0.0.1')
  clock.advance(DEMAND_WAIT_MS)
  t.equal(heard.length, 2)
  t.equal(used.length, 3)
})

t.test('without a controller what is known is used at once', async (t) => {
  const { heard, when, clock } = setUp({ isConnected: false, known: ['10.0.0.1'] })
  when('10.0.0.1')
  t.same(heard, ['a 10.0.0.1 true'])
  when('10.0.0.2')
  t.equal(heard.length, 1)
  clock.advance(DEMAND_WAIT_MS)
  t.equal(heard.at(-1), 'a 10.0.0.2 false')
})

t.test('with a controller that is silent what is known is used after the wait', async (t) => {
  const { heard, when, clock } = setUp({ known: ['10.0.0.1'] })
  when('10.0.0.1')
  t.same(heard, [])
  clock.advance(DEMAND_WAIT_MS)
  t.same(heard, ['a 10.0.0.1 true'])
})

t.test('where everything is known nobody waits', async (t) => {
  const heard: boolean[] = []
  const destinations = new DemandedDestinations(null, new ManualClock(), () => false)
  destinations.when('10.0.0.1', 'a', (isAnswered) => void heard.push(isAnswered))
  t.same(heard, [true])
})
