// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  createRequestMemory,
  MAX_REQUEST_LABEL_SETS,
  OVERFLOW_LABELS,
  REQUEST_BUCKETS,
  RequestCounterReader,
  RequestCounters,
} from '../../../mesh/telemetry/request-counters.ts'

function worker(reader: RequestCounterReader): {
  readonly counters: RequestCounters
  readonly memory: SharedArrayBuffer
} {
  const memory = createRequestMemory()
  return { counters: new RequestCounters(memory, reader.addWorker(memory)), memory }
}

t.test('time and sizes of requests fall into the buckets of Envoy, each sum by itself', async (t) => {
  const reader = new RequestCounterReader()
  const { counters } = worker(reader)
  const slot = counters.slotOf('a="1"')
  counters.count(slot, 0.5, 0, 700)
  counters.count(slot, 7, 0, 4_000_000)
  const [durations, requests, responses] = reader.histograms()
  const counts = (upTo: (bound: number) => number): number[] =>
    [...REQUEST_BUCKETS, Number.POSITIVE_INFINITY].map(upTo)
  t.same(durations, [{ labels: 'a="1"', counts: counts((bound) => (bound < 10 ? 1 : 2)), sum: 7.5 }])
  t.same(requests, [{ labels: 'a="1"', counts: counts(() => 2), sum: 0 }])
  t.same(responses, [
    {
      labels: 'a="1"',
      counts: counts((bound) => (bound < 1000 ? 0 : bound < 4_000_000 ? 1 : 2)),
      sum: 4_000_700,
    },
  ])
})

t.test('equal label sets of all workers, also of those that ended, are one', async (t) => {
  const reader = new RequestCounterReader()
  const [first, second] = [worker(reader), worker(reader)]
  second.counters.count(second.counters.slotOf('b="2"'), 1, 1, 1)
  first.counters.count(first.counters.slotOf('a="1"'), 1, 2, 3)
  second.counters.count(second.counters.slotOf('a="1"'), 1, 2, 3)
  reader.retireWorker(first.memory)
  reader.retireWorker(first.memory)
  const totals = (): unknown =>
    Object.fromEntries(
      (reader.histograms()[1] ?? []).map(({ labels, counts, sum }) => [labels, [counts.at(-1), sum]]),
    )
  t.same(totals(), { 'a="1"': [2, 4], 'b="2"': [1, 1] })
  t.same(totals(), { 'a="1"': [2, 4], 'b="2"': [1, 1] }, 'reading changes nothing')
})

t.test('label sets beyond the limit share one slot, named once', async (t) => {
  const reader = new RequestCounterReader()
  const { counters } = worker(reader)
  for (let index = 0; index < MAX_REQUEST_LABEL_SETS + 10; index++)
    counters.count(counters.slotOf(`k="${index}"`), 1, 1, 1)
  counters.count(counters.slotOf('k="0"'), 1, 1, 1)
  const found = reader.histograms()[0] ?? []
  t.equal(found.length, MAX_REQUEST_LABEL_SETS)
  t.equal(found.find(({ labels }) => labels === OVERFLOW_LABELS)?.counts.at(-1), 11)
  t.equal(found.find(({ labels }) => labels === 'k="0"')?.counts.at(-1), 2, 'known ones are counted on')
})
