// SPDX-License-Identifier: Apache-2.0
// One record per connection, as one line of JSON. Field names follow Istio's access log (wire-protocols §7.4), with
// the reason code in front. What all connections of a pair say is written once and kept, so that a record costs a
// concatenation.
import type { ReasonCode } from '../errors/reasons.ts'
import { REASONS } from '../errors/reasons.ts'
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

/** What all connections between two workloads say, as long as they go the same way. */
export interface PairText extends Omit<ConnectionEnds, 'sourceAddress' | 'source' | 'destination'> {
  readonly text: string
  /** The same in UTF-8. */
  readonly bytes: Uint8Array
  /** Of its last encoder. */
  number: number
}

// The last one of each pair: a node knows far more workloads than talk through it.
const pairs = new WeakMap<RecordedWorkload, WeakMap<RecordedWorkload, PairText>>()

/** What the pair says, from memory where nothing in it has changed; null where one of the two is not known. */
export function pairOf(ends: ConnectionEnds): PairText | null {
  const { source, destination } = ends
  if (source === null || destination === null) return null
  const bySource = pairs.get(destination) ?? new WeakMap<RecordedWorkload, PairText>()
  const known = bySource.get(source)
  if (known !== undefined && isSame(known, ends)) return known
  const bytes = Buffer.from(formatPair(ends))
  const { direction, transport, sourceIdentity, destinationAddress, hboneAddress, service, policy, via } =
    ends
  const pair: PairText = {
    ...{
      direction,
      transport,
      sourceIdentity,
      destinationAddress,
      hboneAddress,
      service,
      policy,
      via,
      bytes,
    },
    // In one piece. What is concatenated stays a tree of its pieces, and whoever writes it goes through all of them: each time,
    // where it is a part of something longer.
    text: bytes.toString(),
    number: 0,
  }
  pairs.set(destination, bySource)
  bySource.set(source, pair)
  return pair
}

function isSame(known: PairText, ends: ConnectionEnds): boolean {
  return (
    known.direction === ends.direction &&
    known.transport === ends.transport &&
    known.sourceIdentity === ends.sourceIdentity &&
    known.destinationAddress === ends.destinationAddress &&
    known.hboneAddress === ends.hboneAddress &&
    known.service === ends.service &&
    known.policy === ends.policy &&
    known.via === ends.via
  )
}

function formatPair(ends: ConnectionEnds): string {
  const { source, destination } = ends
  return (
    `,"direction":"${ends.direction}","transport":"${ends.transport}"` +
    (source === null ? field('src.identity', ends.sourceIdentity) : workloadText(source, 'src')) +
    field('dst.addr', ends.destinationAddress) +
    field('dst.hbone_addr', ends.hboneAddress) +
    field('dst.service', ends.service) +
    (destination === null ? '' : workloadText(destination, 'dst')) +
    field('policy', ends.policy) +
    field('diverted_to', ends.via)
  )
}

function endsText(ends: ConnectionEnds): string {
  return field('src.addr', ends.sourceAddress) + (pairOf(ends)?.text ?? formatPair(ends))
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
