// SPDX-License-Identifier: Apache-2.0
// One record per connection, as one line of JSON. Field names follow Istio's access log (wire-protocols §7.4), with
// the reason code in front. Text of workloads is escaped once and kept, so that a record costs a concatenation.
import type { ReasonCode } from '../errors/reasons.ts'
import { REASONS } from '../errors/reasons.ts'
import { timeText } from './record-text.ts'

/** A workload as records name it. */
export interface RecordedWorkload {
  readonly name: string
  readonly namespace: string
  readonly identity: string
  readonly clusterId: string
}

/** Everything a record says. Empty text = unknown, left out. */
export interface ConnectionRecord {
  /** Wall clock at the end, ms since 1970. */
  readonly endMs: number
  readonly direction: 'outbound' | 'inbound'
  readonly code: ReasonCode
  readonly detail: string
  /** How the bytes crossed the network; `LOCAL`: they did not. */
  readonly transport: 'HBONE' | 'TCP' | 'LOCAL'
  readonly sourceAddress: string
  readonly source: RecordedWorkload | null
  /** What the peer proved, when the model does not know it. */
  readonly sourceIdentity: string
  /** Next hop of the connection. */
  readonly destinationAddress: string
  readonly hboneAddress: string
  readonly service: string
  readonly destination: RecordedWorkload | null
  /** `namespace/name` of the deciding policy. */
  readonly policy: string
  /** `namespace/name` of the waypoint's pod it was diverted to. */
  readonly via: string
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly durationMs: number
  /** Time until the connection could carry bytes; -1 when it never could. */
  readonly connectMs: number
  /** Endpoints that failed before this one. */
  readonly retryCount: number
  /** null: the connection is no span. */
  readonly trace: RecordedTrace | null
}

/** Ids in lower-case hex; `parentSpanId` '' for the first span of a trace. */
export interface RecordedTrace {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
}

// One text per workload and side it was seen on; a node knows far more workloads than it talks to.
const sourceTexts = new WeakMap<RecordedWorkload, string>()
const destinationTexts = new WeakMap<RecordedWorkload, string>()

function workloadText(workload: RecordedWorkload, side: 'src' | 'dst'): string {
  const texts = side === 'src' ? sourceTexts : destinationTexts
  const known = texts.get(workload)
  if (known !== undefined) return known
  const text = [
    field(`${side}.workload`, workload.name),
    field(`${side}.namespace`, workload.namespace),
    field(`${side}.identity`, workload.identity),
    field(`${side}.cluster`, workload.clusterId),
  ].join('')
  texts.set(workload, text)
  return text
}

let lastService = ''
let lastServiceText = ''

function serviceText(service: string): string {
  if (service === '') return ''
  if (service !== lastService) {
    lastService = service
    lastServiceText = field('dst.service', service)
  }
  return lastServiceText
}

// Addresses are texts of ours; only what a peer may have written needs escaping.
const PLAIN = /^[0-9a-fA-F.:[\]]*$/

function addressField(name: string, value: string): string {
  return PLAIN.test(value) ? (value === '' ? '' : `,"${name}":"${value}"`) : field(name, value)
}

/** Characters of one field at most: names are far shorter, a hostile authority or baggage is not. */
export const MAX_FIELD_LENGTH = 256

function field(name: string, value: string): string {
  if (value === '') return ''
  const text = value.length > MAX_FIELD_LENGTH ? `${value.slice(0, MAX_FIELD_LENGTH)}…` : value
  return `,"${name}":${JSON.stringify(text)}`
}

/** What is known of a connection from its beginning. */
export type ConnectionEnds = Pick<
  ConnectionRecord,
  | 'direction'
  | 'transport'
  | 'sourceAddress'
  | 'source'
  | 'sourceIdentity'
  | 'destinationAddress'
  | 'hboneAddress'
  | 'service'
  | 'destination'
  | 'policy'
  | 'via'
>

function endsText(ends: ConnectionEnds): string {
  const { source, destination } = ends
  return (
    `,"direction":"${ends.direction}","transport":"${ends.transport}"` +
    addressField('src.addr', ends.sourceAddress) +
    (source === null ? field('src.identity', ends.sourceIdentity) : workloadText(source, 'src')) +
    addressField('dst.addr', ends.destinationAddress) +
    addressField('dst.hbone_addr', ends.hboneAddress) +
    serviceText(ends.service) +
    (destination === null ? '' : workloadText(destination, 'dst')) +
    field('policy', ends.policy) +
    field('diverted_to', ends.via)
  )
}

const OPENED_MESSAGE = '"msg":"connection opened"'
/** `{"time":"2026-01-01T00:00:00.000Z",` */
const TIME_LENGTH = 35

/** The line that says that a connection can carry bytes from now on. `atMs` is ms since 1970. */
export function formatOpening(atMs: number, ends: ConnectionEnds): string {
  return `{"time":"${timeText(atMs)}",${OPENED_MESSAGE}${endsText(ends)}}`
}

/** Whether a line is such a one, not a record. */
export function isOpening(line: string): boolean {
  return line.startsWith(OPENED_MESSAGE, TIME_LENGTH)
}

/** What a record that is a span has in its text, and no value of a record can have. */
const TRACED = ',"trace_id":"'

/** Whether the line of a record says that it is a span. */
export function isTraced(line: string): boolean {
  return line.includes(TRACED)
}

function traceText({ traceId, spanId, parentSpanId }: RecordedTrace): string {
  const parent = parentSpanId === '' ? '' : `,"parent_span_id":"${parentSpanId}"`
  return `,"trace_id":"${traceId}","span_id":"${spanId}"${parent}`
}

/** The line of a record, without its newline. */
export function formatConnectionRecord(record: ConnectionRecord): string {
  const { code } = record
  return (
    `{"time":"${timeText(record.endMs)}","msg":"connection complete","reason":"${code}"` +
    endsText(record) +
    `,"bytes_sent":${record.bytesSent},"bytes_recv":${record.bytesReceived}` +
    `,"duration_ms":${record.durationMs.toFixed(1)}` +
    (record.connectMs < 0 ? '' : `,"connect_ms":${record.connectMs.toFixed(1)}`) +
    (record.retryCount === 0 ? '' : `,"retries":${record.retryCount}`) +
    (record.trace === null ? '' : traceText(record.trace)) +
    (code === 'OK' ? '' : field('detail', record.detail) + field('fix', REASONS[code].fix)) +
    '}'
  )
}
