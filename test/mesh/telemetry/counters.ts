// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  CLOSED,
  CounterReader,
  createCounterMemory,
  FAILED,
  MAX_LABEL_SETS,
  OPENED,
  RECEIVED_BYTES,
  setKey,
  setsSince,
  TrafficCounters,
} from '../../../mesh/telemetry/counters.ts'
import type { EdgeLabels } from '../../../mesh/telemetry/edge.ts'

function worker(reader: CounterReader): { counters: TrafficCounters; memory: SharedArrayBuffer } {
  const memory = createCounterMemory()
  return { counters: new TrafficCounters(memory, reader.addWorker(memory)), memory }
}
const sums = (reader: CounterReader, metric: number): Record<string, number> =>
  Object.fromEntries(reader.sums(metric))

t.test('equal label sets of all workers are one sum, whatever their slots', async (t) => {
  const reader = new CounterReader()
  const [{ counters: a }, { counters: b }] = [worker(reader), worker(reader)]
  a.add(
    a.slotOf('x', () => ({ text: 'x="1"', edge: null, pod: '' })),
    OPENED,
    2,
  )
  b.slotOf('y', () => ({ text: 'y="1"', edge: null, pod: '' }))
  b.add(
    b.slotOf('x', () => ({ text: 'x="1"', edge: null, pod: '' })),
    OPENED,
    3,
  )
  t.same(sums(reader, OPENED), { 'x="1"': 5 })
  t.same(sums(reader, CLOSED), {}, 'what is zero is not shown')
})

t.test('what a worker has counted outlives it, once', async (t) => {
  const reader = new CounterReader()
  const first = worker(reader)
  first.counters.add(
    first.counters.slotOf('x', () => ({ text: 'x="1"', edge: null, pod: '' })),
    OPENED,
    2,
  )
  reader.retireWorker(first.memory)
  reader.retireWorker(first.memory)
  const second = worker(reader)
  second.counters.add(
    second.counters.slotOf('z', () => ({ text: 'z="1"', edge: null, pod: '' })),
    OPENED,
    7,
  )
  second.counters.add(
    second.counters.slotOf('x', () => ({ text: 'x="1"', edge: null, pod: '' })),
    OPENED,
    1,
  )
  t.same(sums(reader, OPENED), { 'x="1"': 3, 'z="1"': 7 })
})

t.test('label sets beyond the limit share one slot, named once', async (t) => {
  const reader = new CounterReader()
  const { counters } = worker(reader)
  for (let index = 0; index < MAX_LABEL_SETS + 10; index++) {
    counters.add(
      counters.slotOf(`k${index}`, () => ({ text: `k="${index}"`, edge: null, pod: '' })),
      OPENED,
      1,
    )
  }
  const found = reader.sums(OPENED)
  t.equal(found.size, MAX_LABEL_SETS)
  t.equal(found.get('overflow="true"'), 11)
})

t.test('connections are summed by edge, over workers that are and were', async (t) => {
  const reader = new CounterReader()
  const edge = (reason: string): EdgeLabels => ({
    ...{ reporter: 'source', service: 'cart.shop.svc.cluster.local', isPlaintext: false, reason },
    source: { namespace: 'shop', workload: 'front', identity: 'spiffe://cluster.local/ns/shop/sa/front' },
    destination: null,
  })
  const [first, second] = [worker(reader), worker(reader)]
  for (const { counters } of [first, second]) {
    const ok = counters.slotOf('ok', () => ({ text: 'flags="-"', edge: edge('OK'), pod: 'shop/front-1' }))
    counters.add(ok, OPENED, 2)
    counters.add(ok, RECEIVED_BYTES, 10)
    counters.add(
      counters.slotOf('drain', () => ({ text: 'flags="-"', edge: edge('DRAIN'), pod: 'shop/front-2' })),
      FAILED,
      1,
    )
    counters.add(
      counters.slotOf('dns', () => ({ text: 'dns="1"', edge: null, pod: '' })),
      OPENED,
      9,
    )
  }
  reader.retireWorker(first.memory)
  t.same(
    [...reader.edges().values()],
    [
      { ...edge('OK'), opened: 4, failed: 0, receivedBytes: 20, sentBytes: 0 },
      { ...edge('DRAIN'), opened: 0, failed: 2, receivedBytes: 0, sentBytes: 0 },
    ],
  )
  const counted = { direction: 'outbound', isPlaintext: false, sentBytes: 0 }
  t.same(
    [...reader.pods()],
    [
      ['shop/front-1', [{ ...counted, reason: 'OK', opened: 4, failed: 0, receivedBytes: 20 }]],
      ['shop/front-2', [{ ...counted, reason: 'DRAIN', opened: 0, failed: 2, receivedBytes: 0 }]],
    ],
    'equal labels of different pods stay apart, also of a worker that has ended',
  )
  t.same(sums(reader, FAILED), { 'flags="-"': 2 }, 'Istio’s label knows fewer reasons')
})

t.test('what other processes have counted is added, but to what is asked of this one', async (t) => {
  const reader = new CounterReader()
  const { counters } = worker(reader)
  const labels: EdgeLabels = {
    ...{ reporter: 'source', source: null, destination: null, service: 'cart' },
    ...{ isPlaintext: false, reason: 'OK' },
  }
  const set = { text: 'x="1"', edge: labels, pod: 'shop/front' }
  const slot = counters.slotOf('x', () => set)
  counters.add(slot, OPENED, 2)
  reader.adopt('a', [{ labels: set, values: [100, 0, 0, 0, 0, 0] }])
  reader.adopt('b', [{ labels: set, values: [1000] }])
  t.same(sums(reader, OPENED), { 'x="1"': 1102 })
  reader.adopt('a', [{ labels: set, values: [101, 0, 0, 0, 0, 0] }])
  t.same(sums(reader, OPENED), { 'x="1"': 1103 }, 'in place of what was given before')
  t.match([...reader.edges().values()], [{ opened: 1103 }])
  t.match([...reader.edges(true).values()], [{ opened: 2 }])
  t.match(reader.pods().get('shop/front'), [{ opened: 1103 }])

  const before = reader.own()
  t.match([...before.keys()], [setKey(set)])
  t.same(setsSince(reader.own(), before), [])
  counters.add(slot, OPENED, 5)
  t.same(setsSince(reader.own(), before), [{ labels: set, values: [5, 0, 0, 0, 0, 0] }])
})
