// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { headerValue } from '../../../mesh/http/header-list.ts'
import { MAX_ATTEMPT_SPANS, Tracer, type TraceSettings } from '../../../waypoint/tracing/request-trace.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'
const ALL = new Tracer(1_000_000)
const NONE = new Tracer(0)
const KEPT = ['traceparent', `00-${TRACE}-${SPAN}-01`]
const LEFT = ['traceparent', `00-${TRACE}-${SPAN}-00`]

const told = (headers: readonly string[]): string[] => (headerValue(headers, 'traceparent') ?? '').split('-')

t.test('a caller decides for its trace, whatever is chosen here', async (t) => {
  const kept = NONE.begin(KEPT, null)
  t.same([kept.isSampled, kept.traceId, kept.parentSpanId], [true, TRACE, SPAN])
  const [, traceId, spanId, flags] = told(kept.begin(KEPT, 0))
  t.same([traceId, flags], [TRACE, '01'])
  t.equal(kept.attempts[0]?.spanId, spanId)
  t.not(spanId, kept.spanId)
  const left = ALL.begin(LEFT, null)
  t.same([left.isSampled, left.isReported], [false, false])
  t.same(told(left.begin(LEFT, 0)), ['00', TRACE, SPAN, '00'], 'its own span stays the parent')
})

t.test('who is in no trace begins one, chosen by its id', async (t) => {
  const chosen = ALL.begin([], null)
  t.same([chosen.isReported, chosen.parentSpanId], [true, ''])
  t.same(told(chosen.begin([], 0)).slice(1, 2), [chosen.traceId])
  const not = NONE.begin([], null)
  t.notOk(not.isReported)
  const [, traceId, spanId, flags] = told(not.begin([], 0))
  t.same([traceId, flags], [not.traceId, '00'], 'so that nobody behind us begins another')
  t.match(spanId, /^[0-9a-f]{16}$/)
  const undecided = ['b3', `${TRACE}-${SPAN}`]
  t.ok(ALL.begin(undecided, null).isSampled)
  t.notOk(NONE.begin(undecided, null).isSampled)
  t.notOk(ALL.begin(['b3', '0'], null).isSampled)
  t.ok(NONE.begin(['b3', '1'], null).isSampled)
})

t.test('settings of a service go before those of the waypoint', async (t) => {
  const all: TraceSettings = { samplesPerMillion: 1_000_000, isReported: true }
  t.ok(NONE.begin([], all).isReported)
  t.notOk(ALL.begin([], { ...all, samplesPerMillion: 0 }).isSampled)
  const unreported = ALL.begin([], { samplesPerMillion: null, isReported: false })
  t.same([unreported.isSampled, unreported.isReported], [true, false])
  t.equal(told(unreported.begin([], 0))[3], '01', 'the trace goes on')
  t.equal(unreported.attempts.length, 0)
})

t.test('a copy is below the request, or where that stands, and is no attempt', async (t) => {
  const kept = NONE.begin(KEPT, null)
  t.same(told(kept.copy(KEPT)), ['00', TRACE, kept.spanId, '01'])
  t.equal(kept.attempts.length, 0)
  const left = NONE.begin(LEFT, null)
  t.same(told(left.copy(LEFT)), ['00', TRACE, SPAN, '00'])
  t.match(
    told(NONE.begin([], null).copy(['traceparent', 'garbage'])).join('-'),
    /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/,
  )
})

t.test('the last attempts are kept, as many as there is room for', async (t) => {
  const trace = ALL.begin([], null)
  for (let nowMs = 1; nowMs <= MAX_ATTEMPT_SPANS + 3; nowMs++) {
    trace.begin([], nowMs)
    trace.note(503, 'OK', null, nowMs + 0.5)
  }
  t.equal(trace.attempts.length, MAX_ATTEMPT_SPANS)
  t.match(trace.attempts.at(-1), { startMs: MAX_ATTEMPT_SPANS + 3, status: 503 })
})
