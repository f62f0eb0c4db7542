// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  CONNECT,
  FIRST_BYTE,
  Latencies,
  latencySeries,
  TLS_HANDSHAKE,
} from '../../../mesh/telemetry/latencies.ts'

t.test('workers are summed, series are told apart, empty ones are left out', async (t) => {
  const [one, other] = [new Latencies(), new Latencies()]
  one.observe(CONNECT, true, true, 0.4)
  one.observe(CONNECT, true, true, 0.5)
  new Latencies(other.memory).observe(CONNECT, true, true, 60_000)
  other.observe(CONNECT, false, false, 3)
  other.observe(FIRST_BYTE, true, true, 1)
  const [hbone, plain, ...others] = latencySeries([one, other], CONNECT)
  t.same(others, [])
  t.match(hbone, { reporter: 'source', transport: 'HBONE' })
  t.match(plain, { reporter: 'destination', transport: 'TCP', sumSeconds: 0.003 })
  t.same(hbone?.buckets[0], { seconds: 0.0005, count: 2 }, 'a bound belongs to its bucket')
  t.same(hbone?.buckets.at(-2), { seconds: 10, count: 2 })
  t.same(hbone?.buckets.at(-1), { seconds: Number.POSITIVE_INFINITY, count: 3 })
  t.equal(latencySeries([one, other], FIRST_BYTE).length, 1)
  t.same(latencySeries([one, other], TLS_HANDSHAKE), [])
})

t.test('whatever took however long is in exactly the buckets that hold it', async () => {
  const metric = fc.constantFrom(CONNECT, TLS_HANDSHAKE, FIRST_BYTE)
  const took = fc.double({ min: 0, max: 20_000, noNaN: true })
  fc.assert(
    fc.property(metric, fc.boolean(), fc.boolean(), fc.array(took), (index, isSource, isHbone, times) => {
      const latencies = new Latencies()
      for (const each of times) latencies.observe(index, isSource, isHbone, each)
      const [series] = latencySeries([latencies], index)
      return (
        (series === undefined) === (times.length === 0) &&
        (series?.buckets ?? []).every(
          ({ seconds, count }) => count === times.filter((each) => each <= seconds * 1000).length,
        )
      )
    }),
  )
})
