// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type CountedPair, PairSlots } from '../../../ztunnel/carry/pair-slots.ts'

t.test('a slot is that of the same workloads, going the same way to the same service', async (t) => {
  const [front, cart, service] = [{}, {}, {}]
  const pair: CountedPair = {
    ...{ direction: 'outbound', transport: 'HBONE', source: front, destination: cart, service },
  }
  const slots = new PairSlots()
  t.equal(slots.get(pair), -1)
  slots.set(pair, 0)
  t.equal(slots.get({ ...pair }), 0)
  for (const other of [
    { direction: 'inbound' as const },
    { transport: 'TCP' },
    { service: null },
    { service: {} },
    { source: cart, destination: front },
    { source: {} },
    { source: null },
    { destination: null },
  ])
    t.equal(slots.get({ ...pair, ...other }), -1)
  slots.set({ ...pair, source: null }, 7)
  slots.set({ ...pair, transport: 'TCP' }, 3)
  t.equal(slots.get({ ...pair, transport: 'TCP' }), 3)
  t.equal(slots.get(pair), -1, 'the last one is kept')
})
