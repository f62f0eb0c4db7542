// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  CLOSED,
  CounterReader,
  createCounterMemory,
  MAX_LABEL_SETS,
  OPENED,
  TrafficCounters,
} from '../../../mesh/telemetry/counters.ts'

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
    a.slotOf('x', () => 'x="1"'),
    OPENED,
    2,
  )
  b.slotOf('y', () => 'y="1"')
  b.add(
    b.slotOf('x', () => 'x="1"'),
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
    first.counters.slotOf('x', () => 'x="1"'),
    OPENED,
    2,
  )
  reader.retireWorker(first.memory)
  reader.retireWorker(first.memory)
  const second = worker(reader)
  second.counters.add(
    second.counters.slotOf('z', () => 'z="1"'),
    OPENED,
    7,
  )
  second.counters.add(
    second.counters.slotOf('x', () => 'x="1"'),
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
      counters.slotOf(`k${index}`, () => `k="${index}"`),
      OPENED,
      1,
    )
  }
  const found = reader.sums(OPENED)
  t.equal(found.size, MAX_LABEL_SETS)
  t.equal(found.get('overflow="true"'), 11)
})
