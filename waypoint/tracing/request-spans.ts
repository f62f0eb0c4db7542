// SPDX-License-Identifier: Apache-2.0
// The spans of a request: one of the waypoint's answering it, and below it one for each attempt at the service. Made in the
// worker, for requests that are sampled only. SPEC OTel semantic conventions, HTTP spans. Pure.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { type HeaderList, headerValue } from '../../mesh/http/header-list.ts'
import {
  type Attribute,
  integerAttribute,
  nanoseconds,
  type OtlpSpan,
  SPAN_KIND_CLIENT,
  SPAN_KIND_SERVER,
  STATUS_ERROR,
  textAttribute,
} from '../../mesh/tracing/otlp.ts'
import { responseFlags } from '../carry/request-series.ts'
import { epochMs, type LoggedRequest, type LoggedSource } from '../records/logged-request.ts'
import type { SpanTag } from '../records/target-telemetry.ts'
import type { AttemptSpan, RequestTrace } from './request-trace.ts'

/** Characters of one attribute at most: all of a span has to fit into one line of the ring. */
const MAX_ATTRIBUTE_CHARS = 256
/** SPEC OTel: others are `_OTHER`, so that nobody makes names of spans without end. */
const METHODS: ReadonlySet<string> = new Set([
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'],
])

/** Each as JSON: the request's first, then its attempts in order. */
export function requestSpans(
  source: LoggedSource,
  request: LoggedRequest,
  trace: RequestTrace,
  tags: readonly SpanTag[],
): string[] {
  const name = nameOf(source, request)
  return [
    JSON.stringify(serverSpan(name, source, request, trace, tags)),
    ...trace.attempts.map((attempt) => JSON.stringify(clientSpan(name, source, request, trace, attempt))),
  ]
}

/** Method and service: few, whatever is asked for. */
function nameOf({ target: { view } }: LoggedSource, { method }: LoggedRequest): string {
  return `${METHODS.has(method) ? method : 'HTTP'} ${view.hostname ?? view.authority}`
}

function serverSpan(
  name: string,
  source: LoggedSource,
  request: LoggedRequest,
  { traceId, spanId, parentSpanId }: RequestTrace,
  tags: readonly SpanTag[],
): OtlpSpan {
  const { reason, headers, status, endpoint, startedMs, endedMs } = request
  const { sender, target } = source
  return {
    ...{ traceId, spanId, ...(parentSpanId === '' ? {} : { parentSpanId }) },
    ...{ name, kind: SPAN_KIND_SERVER },
    startTimeUnixNano: nanoseconds(epochMs(startedMs)),
    endTimeUnixNano: nanoseconds(epochMs(endedMs)),
    attributes: [
      ...commonAttributes(source, request, status),
      textAttribute('url.scheme', 'http'),
      ...texts([
        ['url.path', request.path],
        ['client.address', sender.ip],
        ['user_agent.original', headerValue(headers, 'user-agent') ?? ''],
        ['guid:x-request-id', request.requestId],
        ['response_flags', responseFlags(request)],
        ['istio.namespace', target.view.namespace ?? ''],
        ['istio.canonical_service', target.view.name ?? ''],
        ['upstream_cluster', request.known?.facts.view.name ?? ''],
        ['sidestep.reason', reason.code],
        ['sidestep.source.identity', sender.identity],
        ['sidestep.destination.identity', endpoint?.identity ?? ''],
        ['sidestep.route', request.route],
        ['sidestep.policy', request.policy],
      ]),
      integerAttribute('http.request.body.size', request.bytesReceived),
      integerAttribute('http.response.body.size', request.bytesSent),
      integerAttribute('sidestep.attempts', request.attemptCount),
      ...errorType(reason.code, status),
      ...texts(tags.map((tag) => [tag.name, tagValue(tag, headers)])),
    ],
    // SPEC OTel HTTP spans: of a server 4xx is the caller's mistake.
    status: reason.code !== 'OK' || status >= 500 ? errorStatus(reason.detail) : {},
  }
}

function clientSpan(
  name: string,
  source: LoggedSource,
  request: LoggedRequest,
  { traceId, spanId: parentSpanId }: RequestTrace,
  attempt: AttemptSpan,
): OtlpSpan {
  const { spanId, startMs, status, endpoint } = attempt
  // One that had neither failed nor been given up ended with the request, and for the same reason.
  const isLast = !attempt.isGivenUp && attempt.code === 'OK'
  const code = isLast ? request.reason.code : attempt.code
  return {
    ...{ traceId, spanId, parentSpanId, name, kind: SPAN_KIND_CLIENT },
    startTimeUnixNano: nanoseconds(epochMs(startMs)),
    endTimeUnixNano: nanoseconds(epochMs(isLast ? request.endedMs : attempt.endMs)),
    attributes: [
      ...commonAttributes(source, request, status),
      ...texts([
        ['network.peer.address', endpoint?.ip ?? ''],
        ['sidestep.destination.identity', endpoint?.identity ?? ''],
        ['sidestep.reason', code],
      ]),
      ...(endpoint === null ? [] : [integerAttribute('network.peer.port', endpoint.port)]),
      ...errorType(code, status),
    ],
    status: code !== 'OK' || status >= 400 ? errorStatus('') : {},
  }
}

function commonAttributes(
  { version, target: { view } }: LoggedSource,
  { method, host, grpcStatus }: LoggedRequest,
  status: number,
): Attribute[] {
  return [
    textAttribute('http.request.method', METHODS.has(method) ? method : '_OTHER'),
    ...(METHODS.has(method) ? [] : texts([['http.request.method_original', method]])),
    ...texts([['server.address', view.hostname ?? host]]),
    ...(view.port === undefined ? [] : [integerAttribute('server.port', view.port)]),
    textAttribute('network.protocol.version', version === 'http2' ? '2' : '1.1'),
    ...(status === 0 ? [] : [integerAttribute('http.response.status_code', status)]),
    ...(grpcStatus === null ? [] : [integerAttribute('rpc.grpc.status_code', grpcStatus)]),
  ]
}

/** SPEC OTel error.type: what went wrong, else the status that says so. */
function errorType(code: ReasonCode, status: number): Attribute[] {
  if (code !== 'OK') return [textAttribute('error.type', code)]
  return status >= 500 ? [textAttribute('error.type', String(status))] : []
}

function errorStatus(message: string): OtlpSpan['status'] {
  return message === ''
    ? { code: STATUS_ERROR }
    : { code: STATUS_ERROR, message: message.slice(0, MAX_ATTRIBUTE_CHARS) }
}

function tagValue({ header, value }: SpanTag, headers: HeaderList): string {
  return header === '' ? value : (headerValue(headers, header) ?? value)
}

function texts(pairs: readonly (readonly [key: string, value: string])[]): Attribute[] {
  return pairs.flatMap(([key, value]) =>
    value === '' ? [] : textAttribute(key, value.slice(0, MAX_ATTRIBUTE_CHARS)),
  )
}
