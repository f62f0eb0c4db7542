// SPDX-License-Identifier: Apache-2.0
// One record per connection, as one line of JSON. Field names follow Istio's access log (wire-protocols §7.4), with
// the reason code in front.
import type { ReasonCode } from '../errors/reasons.ts'
import { REASONS } from '../errors/reasons.ts'
import { formatSocketAddress, type SocketAddress } from '../net/address.ts'
import { jsonField, timeText } from './record-text.ts'

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
  readonly sourceAddress: SocketAddress
  readonly source: RecordedWorkload | null
  /** What the peer proved, when the model does not know it. */
  readonly sourceIdentity: string
  /** Next hop of the connection; null: `hboneAddress` is all that is known of it. */
  readonly destinationAddress: SocketAddress | null
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

/** Characters of one field at most: names are far shorter, a hostile authority or baggage is not. */
export const MAX_FIELD_LENGTH = 256

const field = (name: string, value: string): string => jsonField(name, value, MAX_FIELD_LENGTH)

function workloadText(workload: RecordedWorkload, side: 'src' | 'dst'): string {
  return (
    field(`${side}.workload`, workload.name) +
    field(`${side}.namespace`, workload.namespace) +
    field(`${side}.identity`, workload.identity) +
    field(`${side}.cluster`, workload.clusterId)
  )
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

/** What the records of all connections of a pair say, as long as they go the same way: without beginning and end. */
export function formatPair(ends: ConnectionEnds): string {
  const { source, destination } = ends
  return (
    `,"direction":"${ends.direction}","transport":"${ends.transport}"` +
    (source === null ? field('src.identity', ends.sourceIdentity) : workloadText(source, 'src')) +
    field('dst.addr', destinationText(ends)) +
    field('dst.hbone_addr', ends.hboneAddress) +
    field('dst.service', ends.service) +
    (destination === null ? '' : workloadText(destination, 'dst')) +
    field('policy', ends.policy) +
    field('diverted_to', ends.via)
  )
}

/** Where a connection goes next, as records say it. */
export function destinationText(ends: Pick<ConnectionEnds, 'destinationAddress' | 'hboneAddress'>): string {
  const { destinationAddress, hboneAddress } = ends
  return destinationAddress === null
    ? hboneAddress
    : formatSocketAddress(destinationAddress.ip, destinationAddress.port)
}

function endsText(ends: ConnectionEnds): string {
  const { ip, port } = ends.sourceAddress
  return field('src.addr', formatSocketAddress(ip, port)) + formatPair(ends)
}

/** With one decimal. */
function tenths(value: number): string {
  const count = Math.round(value * 10)
  return `${Math.floor(count / 10)}.${count % 10}`
}

const OPENED_MESSAGE = '"msg":"connection opened"'
/** The line that says that a connection can carry bytes from now on. `atMs` is ms since 1970. */
export function formatOpening(atMs: number, ends: ConnectionEnds): string {
  return `{"time":"${timeText(atMs)}",${OPENED_MESSAGE}${endsText(ends)}}`
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
    `,"duration_ms":${tenths(record.durationMs)}` +
    (record.connectMs < 0 ? '' : `,"connect_ms":${tenths(record.connectMs)}`) +
    (record.retryCount === 0 ? '' : `,"retries":${record.retryCount}`) +
    (record.trace === null ? '' : traceText(record.trace)) +
    (code === 'OK' ? '' : field('detail', record.detail) + field('fix', REASONS[code].fix)) +
    '}'
  )
}
