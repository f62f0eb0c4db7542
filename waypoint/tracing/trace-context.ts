// SPDX-License-Identifier: Apache-2.0
// The trace that a request says it is part of, and how it is told to whom it goes on: W3C's `traceparent` and both forms of B3.
// Pure. Whatever is no valid context counts as none; it is neither passed on nor recorded. SPEC W3C Trace Context; SPEC B3
// github.com/openzipkin/b3-propagation.
import { formatTraceparent, parseTraceparent } from '../../mesh/hbone/traceparent.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'

/** Who called is part of this. */
export interface TraceContext {
  /** 32 digits of lower-case hex; those of 64 bits have zeros before. */
  readonly traceId: string
  /** 16 digits: the span that sent the request. */
  readonly spanId: string
  /** The one above it, as B3 tells; ''. */
  readonly parentSpanId: string
  /** null: whoever reads it decides. */
  readonly isSampled: boolean | null
  /** B3's debug: kept by everybody. */
  readonly isDebug: boolean
}

/** What a request says. */
export interface ReadContext {
  /** null: no trace, or none that is valid. */
  readonly context: TraceContext | null
  /** Without a trace: whether its caller wants one. B3's lone `0`, `1` and `d`; null: it says nothing. */
  readonly wanted: boolean | null
  readonly hasB3: boolean
  readonly hasMultiB3: boolean
}

const TRACE_FIELDS: ReadonlySet<string> = new Set([
  ...['traceparent', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags'],
])
const ID_FIELDS = ['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid']
const NOTHING: ReadContext = { context: null, wanted: null, hasB3: false, hasMultiB3: false }

/** Reads the context of a request. W3C goes before B3, and B3's one field before its five. */
export function readTraceContext(headers: HeaderList): ReadContext {
  let isThere = false
  for (let i = 0; i < headers.length && !isThere; i += 2) isThere = isTraceField(headers[i] ?? '')
  return isThere ? readFields(headers) : NOTHING
}

/** `t`, `b` and `x` begin all of them: most names are told apart by that. */
function isTraceField(name: string): boolean {
  const first = name.charCodeAt(0)
  return (first === 0x74 || first === 0x62 || first === 0x78) && TRACE_FIELDS.has(name)
}

function readFields(headers: HeaderList): ReadContext {
  const fields = new Map<string, string>()
  const repeated = new Set<string>()
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    if (!isTraceField(name)) continue
    if (fields.has(name)) repeated.add(name)
    fields.set(name, headers[i + 1] ?? '')
  }
  // Of two nobody can say which is meant.
  for (const name of repeated) fields.set(name, '')
  const hasB3 = fields.has('b3')
  const hasMultiB3 = [...fields.keys()].some((name) => name.startsWith('x-b3-'))
  const single = hasB3 ? readB3(fields.get('b3') ?? '') : null
  const multi = hasMultiB3 ? readMultiB3(fields) : null
  const context =
    readTraceparent(fields.get('traceparent') ?? '') ?? single?.context ?? multi?.context ?? null
  const wanted = context === null ? (single?.wanted ?? multi?.wanted ?? null) : null
  return { context, wanted, hasB3, hasMultiB3 }
}

/** SPEC W3C Trace Context §3.2.4: of a later version the part that version 00 knows is read. */
function readTraceparent(text: string): TraceContext | null {
  const isLater = /^(?!00|ff)[0-9a-f]{2}-/.test(text) && (text.length === 55 || text[55] === '-')
  const parsed = parseTraceparent(isLater ? `00${text.slice(2, 55)}` : text)
  return parsed === null ? null : { ...parsed, parentSpanId: '', isDebug: false }
}

type ReadB3 = Pick<ReadContext, 'context' | 'wanted'>

function readB3(text: string): ReadB3 {
  const lone = stateOf(text)
  if (lone !== undefined) return { context: null, wanted: lone.isSampled }
  const [traceId = '', spanId = '', state, parent = '', ...rest] = text.length > 70 ? [] : text.split('-')
  const sampling = state === undefined ? UNDECIDED : stateOf(state)
  if (rest.length > 0 || sampling === undefined) return { context: null, wanted: null }
  return { context: contextOf(traceId, spanId, parent, sampling), wanted: null }
}

function readMultiB3(fields: ReadonlyMap<string, string>): ReadB3 {
  const isDebug = fields.get('x-b3-flags') === '1'
  const said = fields.get('x-b3-sampled')
  const state = isDebug
    ? { isSampled: true, isDebug }
    : said === undefined
      ? UNDECIDED
      : stateOf(said === 'true' ? '1' : said === 'false' ? '0' : said)
  if (state === undefined) return { context: null, wanted: null }
  const [traceId = '', spanId = '', parent = ''] = ID_FIELDS.map((name) => fields.get(name))
  const context = contextOf(traceId, spanId, parent, state)
  const hasIds = fields.has('x-b3-traceid') || fields.has('x-b3-spanid')
  return { context, wanted: hasIds ? null : state.isSampled }
}

interface State {
  readonly isSampled: boolean | null
  readonly isDebug: boolean
}

const UNDECIDED: State = { isSampled: null, isDebug: false }

function stateOf(text: string): State | undefined {
  if (text === '1' || text === 'd') return { isSampled: true, isDebug: text === 'd' }
  return text === '0' ? { isSampled: false, isDebug: false } : undefined
}

function contextOf(traceId: string, spanId: string, parentSpanId: string, state: State): TraceContext | null {
  const isTrace = isId(traceId, 32) || isId(traceId, 16)
  const isParent = parentSpanId === '' || isId(parentSpanId, 16)
  if (!isTrace || !isParent || !isId(spanId, 16)) return null
  return { traceId: traceId.padStart(32, '0'), spanId, parentSpanId, ...state }
}

/** Lower-case hex of that length, not all zeros. */
function isId(text: string, digits: number): boolean {
  return text.length === digits && /^[0-9a-f]+$/.test(text) && !/^0+$/.test(text)
}

/** A trace as a request that goes on tells it. */
export interface SentContext extends TraceContext {
  readonly isSampled: boolean
}

/**
 * The fields of a request with this trace in place of what they said: as `traceparent`, and as B3 in the forms that they had.
 * `tracestate` belongs to the trace that came: it goes with it.
 */
export function withTraceContext(headers: HeaderList, read: ReadContext, sent: SentContext): string[] {
  const result: string[] = []
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const isStray = name === 'tracestate' && read.context?.traceId !== sent.traceId
    if (!isStray && !isTraceField(name)) result.push(name, headers[i + 1] ?? '')
  }
  const { traceId, spanId, parentSpanId: parent, isSampled, isDebug } = sent
  result.push('traceparent', formatTraceparent(sent))
  const state = isDebug ? 'd' : isSampled ? '1' : '0'
  if (read.hasB3) result.push('b3', `${traceId}-${spanId}-${state}${parent === '' ? '' : `-${parent}`}`)
  if (read.hasMultiB3) {
    result.push('x-b3-traceid', traceId, 'x-b3-spanid', spanId)
    if (parent !== '') result.push('x-b3-parentspanid', parent)
    if (isDebug) result.push('x-b3-flags', '1')
    else result.push('x-b3-sampled', isSampled ? '1' : '0')
  }
  return result
}
