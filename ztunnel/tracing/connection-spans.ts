// SPDX-License-Identifier: Apache-2.0
// Connection records as spans. Pure.
import {
  type Attribute,
  exportRequest,
  integerAttribute,
  nanoseconds,
  type OtlpSpan,
  SPAN_KIND_CLIENT,
  SPAN_KIND_SERVER,
  type SpanResource,
  STATUS_ERROR,
  textAttribute,
} from '../../mesh/tracing/otlp.ts'

/** Fields of a record, and what they are called in a span. */
const TEXTS: readonly (readonly [field: string, key: string])[] = [
  ['src.addr', 'source.address'],
  ['src.workload', 'sidestep.source.workload'],
  ['src.namespace', 'sidestep.source.namespace'],
  ['src.identity', 'sidestep.source.identity'],
  ['dst.addr', 'destination.address'],
  ['dst.hbone_addr', 'sidestep.hbone.authority'],
  ['dst.service', 'server.address'],
  ['dst.workload', 'sidestep.destination.workload'],
  ['dst.namespace', 'sidestep.destination.namespace'],
  ['dst.identity', 'sidestep.destination.identity'],
  ['transport', 'sidestep.transport'],
  ['policy', 'sidestep.policy'],
  ['diverted_to', 'sidestep.diverted_to'],
  ['reason', 'sidestep.reason'],
]
const INTEGERS: readonly (readonly [field: string, key: string])[] = [
  ['bytes_sent', 'sidestep.bytes_sent'],
  ['bytes_recv', 'sidestep.bytes_received'],
  ['retries', 'sidestep.retries'],
]

/** The span of a record; null for a line that is none. */
export function spanOf(line: string): OtlpSpan | null {
  const record = parse(line)
  const text = (field: string): string => {
    const value = record[field]
    return typeof value === 'string' ? value : ''
  }
  const [traceId, spanId, parentSpanId] = ['trace_id', 'span_id', 'parent_span_id'].map(text)
  const endMs = Date.parse(text('time'))
  const durationMs = record.duration_ms
  if (!traceId || !spanId || Number.isNaN(endMs) || typeof durationMs !== 'number') return null
  const [direction, reason] = [text('direction'), text('reason')]
  const to = text('dst.service') || text('dst.workload')
  const isError = reason !== 'OK'
  return {
    ...{ traceId, spanId, ...(parentSpanId ? { parentSpanId } : {}) },
    name: to === '' ? direction : `${direction} ${to}`,
    kind: direction === 'outbound' ? SPAN_KIND_CLIENT : SPAN_KIND_SERVER,
    startTimeUnixNano: nanoseconds(endMs - durationMs),
    endTimeUnixNano: nanoseconds(endMs),
    attributes: attributesOf(record, text, isError ? reason : ''),
    status: isError ? { code: STATUS_ERROR, message: text('detail') || reason } : {},
  }
}

/** The document of records; lines that are no spans are left out. */
export function exportConnections(lines: readonly string[], resource: SpanResource): string {
  return exportRequest(
    lines.flatMap((line) => {
      const span = spanOf(line)
      return span === null ? [] : JSON.stringify(span)
    }),
    resource,
  )
}

type Fields = Readonly<Record<string, unknown>>

function attributesOf(record: Fields, text: (field: string) => string, errorType: string): Attribute[] {
  const { connect_ms: connectMs } = record
  return [
    textAttribute('network.transport', 'tcp'),
    ...TEXTS.flatMap(([field, key]) => (text(field) === '' ? [] : [textAttribute(key, text(field))])),
    ...INTEGERS.flatMap(([field, key]) => {
      const value = record[field]
      return typeof value === 'number' && Number.isSafeInteger(value) ? [integerAttribute(key, value)] : []
    }),
    ...(typeof connectMs === 'number'
      ? [{ key: 'sidestep.connect_ms', value: { doubleValue: connectMs } }]
      : []),
    ...(errorType === '' ? [] : [textAttribute('error.type', errorType)]),
  ]
}

function parse(line: string): Fields {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Fields) : {} // as: an object
  } catch {
    return {} // the ring cuts what is too long
  }
}
