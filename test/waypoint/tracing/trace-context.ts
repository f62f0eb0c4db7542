// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  readTraceContext,
  type SentContext,
  withTraceContext,
} from '../../../waypoint/tracing/trace-context.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'
const PARENT = 'b7ad6b7169203331'
const ZEROS = '0'.repeat(32)
const W3C = `00-${TRACE}-${SPAN}-01`
const CONTEXT = { traceId: TRACE, spanId: SPAN, parentSpanId: '', isSampled: true, isDebug: false }

t.test('a valid context is read, in each of the three forms', async (t) => {
  const short = 'a'.repeat(16)
  for (const [headers, expected] of [
    [['traceparent', W3C], CONTEXT],
    [['traceparent', `00-${TRACE}-${SPAN}-00`], { ...CONTEXT, isSampled: false }],
    [['traceparent', `cc-${TRACE}-${SPAN}-01-later`], CONTEXT],
    [['b3', `${TRACE}-${SPAN}-1`], CONTEXT],
    [['b3', `${TRACE}-${SPAN}-0-${PARENT}`], { ...CONTEXT, isSampled: false, parentSpanId: PARENT }],
    [['b3', `${TRACE}-${SPAN}`], { ...CONTEXT, isSampled: null }],
    [['b3', `${short}-${SPAN}-d`], { ...CONTEXT, traceId: `${'0'.repeat(16)}${short}`, isDebug: true }],
    [['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-sampled', '1'], CONTEXT],
    [['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN], { ...CONTEXT, isSampled: null }],
    [['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-flags', '1'], { ...CONTEXT, isDebug: true }],
    [
      ['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-parentspanid', PARENT, 'x-b3-sampled', 'false'],
      { ...CONTEXT, isSampled: false, parentSpanId: PARENT },
    ],
    [['b3', 'garbage', 'traceparent', W3C], CONTEXT],
    [['traceparent', 'garbage', 'b3', `${TRACE}-${SPAN}-1`], CONTEXT],
  ] as const)
    t.strictSame(readTraceContext(['x-a', 'b', ...headers]).context, expected, headers.join(' '))
})

t.test('what is not a context is none', async (t) => {
  for (const headers of [
    ['traceparent', ''],
    ['traceparent', W3C.toUpperCase()],
    ['traceparent', `ff-${TRACE}-${SPAN}-01`],
    ['traceparent', `${W3C}-more`],
    ['traceparent', `cc-${TRACE}-${SPAN}-01more`],
    ['traceparent', `00-${ZEROS}-${SPAN}-01`],
    ['traceparent', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['traceparent', W3C, 'traceparent', W3C],
    ['traceparent', `00-${TRACE}-${SPAN}-01\n`],
    ['b3', `${TRACE}-${SPAN}-2`],
    ['b3', `${TRACE}-${SPAN}-1-${PARENT}-x`],
    ['b3', `${TRACE}-${SPAN}-1-x`],
    ['b3', `${'a'.repeat(20)}-${SPAN}-1`],
    ['b3', 'x'.repeat(100_000)],
    ['x-b3-traceid', TRACE],
    ['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-sampled', '2'],
    ['x-b3-spanid', SPAN, 'x-b3-sampled', '1'],
  ])
    t.equal(readTraceContext(headers).context, null, headers.join(' ').slice(0, 100))
})

t.test('B3 without a trace says whether one is wanted', async (t) => {
  for (const [headers, wanted] of [
    [['b3', '0'], false],
    [['b3', '1'], true],
    [['b3', 'd'], true],
    [['x-b3-sampled', '0'], false],
    [['x-b3-flags', '1'], true],
    [['b3', '2'], null],
    [['x-b3-sampled', '1', 'x-b3-traceid', 'garbage'], null],
    [[], null],
  ] as const)
    t.equal(readTraceContext(headers).wanted, wanted, headers.join(' '))
})

const SENT: SentContext = {
  ...{ traceId: TRACE, spanId: PARENT, parentSpanId: SPAN, isSampled: true, isDebug: false },
}

function sent(headers: readonly string[], changes: Partial<SentContext> = {}): string {
  const next = withTraceContext(headers, readTraceContext(headers), { ...SENT, ...changes })
  return next.join(' ')
}

t.test('a trace goes on as traceparent, and in the forms of B3 that it came in', async (t) => {
  const next = `traceparent 00-${TRACE}-${PARENT}-01`
  t.equal(sent(['a', 'b']), `a b ${next}`)
  t.equal(
    sent(['traceparent', W3C, 'a', 'b', 'tracestate', 'x=1', 'tracestate', 'y=2']),
    `a b tracestate x=1 tracestate y=2 ${next}`,
  )
  t.equal(sent(['b3', `${TRACE}-${SPAN}-1`, 'a', 'b']), `a b ${next} b3 ${TRACE}-${PARENT}-1-${SPAN}`)
  t.equal(
    sent(['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-parentspanid', 'x', 'x-b3-sampled', '1']),
    `${next} x-b3-traceid ${TRACE} x-b3-spanid ${PARENT} x-b3-parentspanid ${SPAN} x-b3-sampled 1`,
  )
  t.equal(
    sent(['x-b3-flags', '1', 'b3', 'd'], { isDebug: true, parentSpanId: '' }),
    `${next} b3 ${TRACE}-${PARENT}-d x-b3-traceid ${TRACE} x-b3-spanid ${PARENT} x-b3-flags 1`,
  )
  t.equal(
    sent(['b3', '0'], { isSampled: false, parentSpanId: '' }),
    [...[`traceparent 00-${TRACE}-${PARENT}-00`, `b3 ${TRACE}-${PARENT}-0`]].join(' '),
  )
})

t.test('the state of a trace that is not continued does not go on', async (t) => {
  t.notMatch(sent(['traceparent', 'garbage', 'tracestate', 'x=1']), /tracestate|garbage/)
})

t.test('nothing that a caller writes into these fields goes on but a valid context', async () => {
  const name = fc.constantFrom(
    'traceparent',
    'b3',
    'x-b3-traceid',
    'x-b3-spanid',
    'x-b3-sampled',
    'x-b3-flags',
  )
  const value = fc.oneof(fc.constantFrom(W3C, TRACE, SPAN, '1', 'd', `${TRACE}-${SPAN}-1`), fc.string())
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), (pairs) => {
      const text = sent(pairs.flat())
      return /^traceparent [0-9a-f-]{55}( (b3|x-b3-[a-z]+) [0-9a-fd-]{1,70})*$/.test(text)
    }),
  )
})
