// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatTraceparent, parseTraceparent } from '../../../mesh/hbone/traceparent.ts'
import { TraceSampler } from '../../../ztunnel/carry/trace-sampler.ts'

const [TRACE, SPAN] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']

t.test('a caller that keeps its part of the trace is followed, under its span', async (t) => {
  const trace = new TraceSampler(0).begin(`00-${TRACE}-${SPAN}-01`)
  t.match(trace, { traceId: TRACE, parentSpanId: SPAN, isSampled: true })
  t.match(trace.spanId, /^[0-9a-f]{16}$/)
  t.not(trace.spanId, SPAN)
  t.match(new TraceSampler(0).begin(`00-${TRACE}-${SPAN}-00`), { traceId: TRACE, isSampled: false })
})

t.test('without a caller, or with one that writes nonsense, a trace begins', async (t) => {
  for (const text of ['', 'x'.repeat(55), `00-${TRACE}-${SPAN}`]) {
    const trace = new TraceSampler(1_000_000).begin(text)
    t.match(trace, { parentSpanId: '', isSampled: true })
    t.not(trace.traceId, TRACE)
    t.match(parseTraceparent(formatTraceparent(trace)), { traceId: trace.traceId, spanId: trace.spanId })
  }
})

t.test('the share is that of the option, and both ends of a tunnel decide alike', async (t) => {
  const [source, destination] = [new TraceSampler(100_000), new TraceSampler(100_000)]
  let count = 0
  for (let index = 0; index < 20_000; index++) {
    const near = source.begin('')
    const far = destination.begin(formatTraceparent({ ...near, isSampled: false }))
    t.equal(near.isSampled, far.isSampled) || t.bailout('once is enough')
    if (near.isSampled) count++
  }
  t.ok(count > 1600 && count < 2400, `${count} of 20,000`)
  t.equal(new TraceSampler(0).begin(`00-${'0'.repeat(31)}1-${SPAN}-00`).isSampled, false)
  t.equal(new TraceSampler(1_000_000).begin(`00-${'f'.repeat(32)}-${SPAN}-00`).isSampled, true)
})
