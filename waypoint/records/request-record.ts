// SPDX-License-Identifier: Apache-2.0
// One record per request, as one line of JSON: names as in the records of connections, where both have them. Put together by
// concatenation; texts of connections and endpoints are escaped once and kept.
import { REASONS } from '../../mesh/errors/reasons.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { jsonField, timeText } from '../../mesh/telemetry/record-text.ts'
import { responseFlags } from '../carry/request-series.ts'
import { epochMs, type LoggedRequest, type LoggedSource } from './logged-request.ts'

/** Characters of one field at most. */
export const MAX_FIELD_CHARS = 1024

const sourceTexts = new WeakMap<LoggedSource['sender'], string>()
const targetTexts = new WeakMap<LoggedSource['target']['view'], string>()
const endpointTexts = new WeakMap<NonNullable<LoggedRequest['endpoint']>, string>()

function field(name: string, value: string): string {
  return jsonField(name, value, MAX_FIELD_CHARS)
}

function kept<Key extends object>(texts: WeakMap<Key, string>, key: Key, make: () => string): string {
  const known = texts.get(key)
  if (known !== undefined) return known
  const text = make()
  texts.set(key, text)
  return text
}

function sourceText({ sender, caller, target: { view } }: LoggedSource): string {
  return (
    kept(
      sourceTexts,
      sender,
      () =>
        field('src.addr', sender.ip) +
        field('src.identity', sender.identity) +
        field('src.namespace', caller.namespace),
    ) +
    kept(
      targetTexts,
      view,
      () => field('dst.service', view.hostname ?? '') + field('dst.authority', view.authority),
    )
  )
}

function endpointText(endpoint: LoggedRequest['endpoint']): string {
  if (endpoint === null) return ''
  const { ip, port, identity } = endpoint
  return kept(
    endpointTexts,
    endpoint,
    () => field('dst.addr', formatSocketAddress(ip, port)) + field('dst.identity', identity),
  )
}

/** The line of a record, without its newline. */
export function formatRequestRecord(source: LoggedSource, request: LoggedRequest): string {
  const { reason, endpoint, trace, policyNotes } = request
  const { code, detail } = reason
  const isConnection = source.version === null
  const durationMs = Math.round((request.endedMs - request.startedMs) * 1000) / 1000
  return (
    `{"time":"${timeText(epochMs(request.endedMs))}","scope":"request","reason":"${code}"` +
    (isConnection ? ',"protocol":"tcp"' : '') +
    field('detail', detail) +
    field('method', request.method) +
    field('host', request.host) +
    field('path', request.path) +
    (isConnection ? '' : `,"status":${request.status}${field('response_flags', responseFlags(request))}`) +
    sourceText(source) +
    endpointText(endpoint) +
    field('route', request.route) +
    field('policy', request.policy) +
    (policyNotes.length === 0 ? '' : field('policy_notes', policyNotes.join('; '))) +
    (isConnection ? '' : `,"attempts":${request.attemptCount}`) +
    `,"bytes_received":${request.bytesReceived},"bytes_sent":${request.bytesSent}` +
    `,"duration_ms":${durationMs}` +
    (trace === null || !trace.isSampled ? '' : `,"trace_id":"${trace.traceId}"`) +
    (code === 'OK' ? '' : field('fix', REASONS[code].fix)) +
    '}'
  )
}
