// SPDX-License-Identifier: Apache-2.0
// What the commands of a format of access logs stand for. SPEC ENVOY access log, command operators. '' is written as `-`.
import { hostname } from 'node:os'
import { type HeaderList, headerValue } from '../../mesh/http/header-list.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { timeText } from '../../mesh/telemetry/record-text.ts'
import { responseFlags } from '../carry/request-series.ts'
import { epochMs, type LoggedRequest, type LoggedSource } from './logged-request.ts'

/** Text of a command for one request. */
export type Operator = (request: LoggedRequest, source: LoggedSource) => string
/** Makes one of what stands in its brackets; a text: why it cannot. */
export type OperatorMaker = (args: string | null) => Operator | { readonly mistake: string }

/** A command that takes nothing in brackets. */
function plain(operator: Operator): OperatorMaker {
  return (args) => (args === null ? operator : { mistake: 'takes nothing in brackets' })
}

const UNKNOWN: OperatorMaker = plain(() => '')

/** SPEC ENVOY response code details: `via_upstream`; where we answered or cut an answer, our reason. */
const details: Operator = ({ reason: { code }, answeredMs }) => {
  if (code !== 'OK') return code
  return Number.isNaN(answeredMs) ? 'direct_response' : 'via_upstream'
}

const milliseconds = (from: number, to: number): string =>
  Number.isNaN(to - from) ? '' : String(Math.round(to - from))

const serviceTime: Operator = ({ sentMs, answeredMs }) => milliseconds(sentMs, answeredMs)

const upstreamHost: Operator = ({ endpoint }) =>
  endpoint === null ? '' : formatSocketAddress(endpoint.ip, endpoint.port)

/** A caller's port is its node's affair: 0, as Envoy writes it for an address that came in a header. */
const callerAddress: Operator = (_request, { sender: { ip } }) => formatSocketAddress(ip, 0)

const askedAddress: Operator = (_request, { target: { view } }) => view.authority

type FieldReader = (name: string, request: LoggedRequest, source: LoggedSource) => string

/** `(NAME)`, or `(NAME?OTHER)`: the other where the first is not there. */
function fields(read: FieldReader): OperatorMaker {
  return (args) => {
    const [name = '', other, ...rest] = (args ?? '').toLowerCase().split('?')
    if (!isFieldName(name) || (other !== undefined && !isFieldName(other)) || rest.length > 0)
      return { mistake: 'takes the name of a header in brackets, or two with ? between' }
    if (other === undefined) return (request, source) => read(name, request, source)
    return (request, source) => read(name, request, source) || read(other, request, source)
  }
}

function isFieldName(name: string): boolean {
  return /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)
}

/** As the request goes on, where we say something; what only Envoy may say is nobody's to claim. */
const requestField: FieldReader = (name, { headers, requestId }, { sender }) => {
  if (name === 'x-request-id') return requestId
  if (name === 'x-envoy-original-path') return ''
  const value = headerValue(headers, name) ?? ''
  if (name !== 'x-forwarded-for') return value
  return value === '' ? sender.ip : `${value},${sender.ip}`
}

const answerField: FieldReader = (name, request, source) => {
  if (name === 'x-envoy-upstream-service-time') return serviceTime(request, source)
  const headers: HeaderList = request.answerHeaders ?? []
  return headerValue(headers, name) ?? ''
}

/** SPEC gRPC statuscodes.md. */
const GRPC_NAMES: readonly string[] = [
  ...['OK', 'Canceled', 'Unknown', 'InvalidArgument', 'DeadlineExceeded', 'NotFound', 'AlreadyExists'],
  ...['PermissionDenied', 'ResourceExhausted', 'FailedPrecondition', 'Aborted', 'OutOfRange'],
  ...['Unimplemented', 'Internal', 'Unavailable', 'DataLoss', 'Unauthenticated'],
]

function grpcStatus(args: string | null): ReturnType<OperatorMaker> {
  const form = args ?? 'CAMEL_STRING'
  if (form === 'NUMBER') return ({ grpcStatus: status }) => (status === null ? '' : String(status))
  if (form !== 'CAMEL_STRING' && form !== 'SNAKE_STRING')
    return { mistake: 'takes CAMEL_STRING, SNAKE_STRING or NUMBER in brackets' }
  const names =
    form === 'CAMEL_STRING'
      ? GRPC_NAMES
      : GRPC_NAMES.map((name) => name.replace(/(?<=[a-z])[A-Z]/g, '_$&').toUpperCase())
  return ({ grpcStatus: status }) => (status === null ? '' : (names[status] ?? String(status)))
}

/** By directive of strftime: where it stands in RFC 3339, or how it is made. */
const TIME_PARTS: Readonly<Record<string, (text: string, atMs: number) => string>> = {
  Y: (text) => text.slice(0, 4),
  m: (text) => text.slice(5, 7),
  d: (text) => text.slice(8, 10),
  H: (text) => text.slice(11, 13),
  M: (text) => text.slice(14, 16),
  S: (text) => text.slice(17, 19),
  F: (text) => text.slice(0, 10),
  T: (text) => text.slice(11, 19),
  '3f': (text) => text.slice(20, 23),
  f: (text) => `${text.slice(20, 23)}000000`,
  s: (_text, atMs) => String(Math.floor(atMs / 1000)),
  z: () => '+0000',
  Z: () => 'UTC',
}

function time(args: string | null): ReturnType<OperatorMaker> {
  if (args === null) return ({ startedMs }) => timeText(epochMs(startedMs))
  const parts: ((text: string, atMs: number) => string)[] = []
  for (const piece of args.split(/(%3f|%.)/s)) {
    const directive = piece.startsWith('%') ? piece.slice(1) : null
    const part = directive === null ? () => piece : TIME_PARTS[directive]
    if (part === undefined || piece === '%')
      return { mistake: `knows %${Object.keys(TIME_PARTS).join(' %')}, not ${piece}` }
    parts.push(part)
  }
  return ({ startedMs }) => {
    const atMs = epochMs(startedMs)
    const text = timeText(atMs)
    let made = ''
    for (const part of parts) made += part(text, atMs)
    return made
  }
}

const HOSTNAME = hostname()

const OPERATORS: Readonly<Record<string, OperatorMaker>> = {
  START_TIME: time,
  PROTOCOL: plain((_request, { version }) =>
    version === null ? '' : version === 'http2' ? 'HTTP/2' : 'HTTP/1.1',
  ),
  REQ: fields(requestField),
  RESP: fields(answerField),
  RESPONSE_CODE: plain(({ status }, { version }) => (version === null ? '' : String(status))),
  RESPONSE_CODE_DETAILS: plain(details),
  RESPONSE_FLAGS: plain((request) => responseFlags(request)),
  BYTES_RECEIVED: plain(({ bytesReceived }) => String(bytesReceived)),
  BYTES_SENT: plain(({ bytesSent }) => String(bytesSent)),
  DURATION: plain(({ startedMs, endedMs }) => milliseconds(startedMs, endedMs)),
  RESPONSE_DURATION: plain(({ startedMs, answeredMs }) => milliseconds(startedMs, answeredMs)),
  RESPONSE_TX_DURATION: plain(({ answeredMs, endedMs }) => milliseconds(answeredMs, endedMs)),
  UPSTREAM_HOST: plain(upstreamHost),
  UPSTREAM_REMOTE_ADDRESS: plain(upstreamHost),
  UPSTREAM_CLUSTER: plain(({ known }) => known?.facts.view.name ?? ''),
  UPSTREAM_LOCAL_ADDRESS: UNKNOWN,
  UPSTREAM_PEER_URI_SAN: plain(({ endpoint }) => endpoint?.identity ?? ''),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: plain(({ attemptCount }) => String(attemptCount)),
  UPSTREAM_TRANSPORT_FAILURE_REASON: plain(({ reason, answeredMs, endpoint }) =>
    reason.code !== 'OK' && endpoint !== null && Number.isNaN(answeredMs) ? reason.detail : '',
  ),
  CONNECTION_TERMINATION_DETAILS: plain(({ reason }, { version }) => (version === null ? reason.detail : '')),
  DOWNSTREAM_LOCAL_ADDRESS: plain(askedAddress),
  DOWNSTREAM_REMOTE_ADDRESS: plain(callerAddress),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: plain(callerAddress),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: plain((_request, { sender }) => sender.ip),
  DOWNSTREAM_PEER_URI_SAN: plain((_request, { sender }) => sender.identity),
  REQUESTED_SERVER_NAME: UNKNOWN,
  ROUTE_NAME: plain(({ route }) => route),
  GRPC_STATUS: grpcStatus,
  GRPC_STATUS_NUMBER: plain(({ grpcStatus: status }) => (status === null ? '' : String(status))),
  STREAM_ID: plain(({ requestId }) => requestId),
  TRACE_ID: plain(({ trace }) => trace?.traceId ?? ''),
  HOSTNAME: plain(() => HOSTNAME),
}

/** The maker of a command; undefined: there is none of that name. */
export function operatorMaker(name: string): OperatorMaker | undefined {
  return Object.hasOwn(OPERATORS, name) ? OPERATORS[name] : undefined
}

/** Names of all commands, in order. */
export const OPERATOR_NAMES: readonly string[] = Object.keys(OPERATORS).toSorted()
