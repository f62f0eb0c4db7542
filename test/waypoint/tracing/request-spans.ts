// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { OtlpSpan } from '../../../mesh/tracing/otlp.ts'
import type { LoggedRequest } from '../../../waypoint/records/logged-request.ts'
import type { SpanTag } from '../../../waypoint/records/target-telemetry.ts'
import { requestSpans } from '../../../waypoint/tracing/request-spans.ts'
import { type RequestTrace, Tracer } from '../../../waypoint/tracing/request-trace.ts'
import { loggedRequest, loggedSource } from '../../support/logged.ts'

const PARENT = ['traceparent', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`]
const ENDPOINT = {
  ...{ key: 'e', ip: '10.2.0.9', port: 8080, identity: '', node: '', weight: 1 },
  ...{ protocol: 'TCP' as const, localityRank: 0, labels: {} },
}

function spansOf(trace: RequestTrace, changes: Partial<LoggedRequest> = {}, tags: readonly SpanTag[] = []) {
  const made = requestSpans(loggedSource(), loggedRequest({ trace, ...changes }), trace, tags)
  return made.map((text) => JSON.parse(text) as OtlpSpan) // as: made here
}

/** Values by their keys; numbers as text, as OTLP has them. */
function attributes(span: OtlpSpan | undefined): Record<string, unknown> {
  return Object.fromEntries((span?.attributes ?? []).map(({ key, value }) => [key, Object.values(value)[0]]))
}

t.test('a request is a span below its caller’s, and each attempt one below that', async (t) => {
  const trace = new Tracer(0).begin(PARENT, null)
  const { startedMs } = loggedRequest()
  trace.begin(PARENT, startedMs + 1)
  trace.note(0, 'ENDPOINT_REFUSED', ENDPOINT, startedMs + 2)
  trace.begin(PARENT, startedMs + 3)
  trace.note(200, 'OK', ENDPOINT, startedMs + 9)
  const [server, failed, answered] = spansOf(trace, { attemptCount: 2 })
  t.equal(server?.parentSpanId, 'b'.repeat(16))
  t.same([failed?.parentSpanId, answered?.parentSpanId], [server?.spanId, server?.spanId])
  t.equal(new Set([server, failed, answered].map((span) => span?.traceId)).size, 1)
  t.same([server?.kind, failed?.kind, answered?.kind], [2, 3, 3])
  t.same([server?.status, failed?.status, answered?.status], [{}, { code: 2 }, {}])
  const at = (ms: number): string => String(BigInt(Date.UTC(2026, 0, 2, 3, 4, 5, 6) + ms) * 1_000_000n)
  const times = [server, failed, answered].map((span) => [span?.startTimeUnixNano, span?.endTimeUnixNano])
  t.same(times, [
    [at(0), at(12)],
    [at(1), at(2)],
    [at(3), at(12)],
  ])
  t.equal(server?.name, 'GET web.shop.svc.cluster.local')
  t.match(attributes(server), {
    'http.request.method': 'GET',
    'http.response.status_code': '200',
    'url.path': '/items',
    'server.address': 'web.shop.svc.cluster.local',
    'server.port': '80',
    'client.address': '10.1.0.1',
    'network.protocol.version': '1.1',
    'istio.canonical_service': 'web',
    'istio.namespace': 'shop',
    'guid:x-request-id': 'id-1',
    'sidestep.reason': 'OK',
    'sidestep.attempts': '2',
  })
  t.match(attributes(failed), { 'error.type': 'ENDPOINT_REFUSED', 'network.peer.address': '10.2.0.9' })
  t.match(attributes(answered), { 'http.response.status_code': '200', 'network.peer.port': '8080' })
})

t.test('a request that failed says of what; one that was cut cut its attempt', async (t) => {
  const trace = new Tracer(0).begin(PARENT, null)
  trace.begin(PARENT, loggedRequest().startedMs)
  const [server, attempt] = spansOf(trace, {
    ...{ reason: { code: 'REQUEST_TIMEOUT', detail: '10 ms' }, status: 504, endpoint: null },
  })
  t.same(server?.status, { code: 2, message: '10 ms' })
  t.equal(attributes(server)['error.type'], 'REQUEST_TIMEOUT')
  t.equal(attributes(attempt)['error.type'], 'REQUEST_TIMEOUT')
  t.equal(attempt?.endTimeUnixNano, server?.endTimeUnixNano)
})

t.test('an attempt that was given up is not made to answer for what came after it', async (t) => {
  const trace = new Tracer(0).begin(PARENT, null)
  const { startedMs } = loggedRequest()
  trace.begin(PARENT, startedMs + 1)
  trace.note(503, 'OK', ENDPOINT, startedMs + 2)
  trace.giveUp()
  const [server, attempt] = spansOf(trace, { reason: { code: 'REQUEST_TIMEOUT', detail: '' }, status: 504 })
  t.equal(attributes(attempt)['sidestep.reason'], 'OK')
  t.equal(attributes(attempt)['http.response.status_code'], '503')
  t.ok(Number(attempt?.endTimeUnixNano) < Number(server?.endTimeUnixNano))
})

t.test('a mistake of the caller is no error of the server, one of the service is', async (t) => {
  const trace = new Tracer(1_000_000).begin([], null)
  for (const [status, expected] of [
    [404, {}],
    [503, { code: 2 }],
  ] as const)
    t.same(spansOf(trace, { status })[0]?.status, expected)
})

t.test('tags are texts, or of headers with a text for their want', async (t) => {
  const trace = new Tracer(1_000_000).begin([], null)
  const tags = [
    { name: 'team', header: '', value: 'a' },
    { name: 'agent', header: 'user-agent', value: 'none' },
    { name: 'tenant', header: 'x-tenant', value: 'nobody' },
    { name: 'empty', header: 'x-none', value: '' },
  ]
  const found = attributes(spansOf(trace, {}, tags)[0])
  t.match(found, { team: 'a', agent: 'curl/8', tenant: 'nobody' })
  t.notOk(Object.hasOwn(found, 'empty'))
})

t.test('a hostile request makes no span that the ring would cut, and no name of its own', async (t) => {
  const long = '\xff'.repeat(60_000)
  const trace = new Tracer(1_000_000).begin([], null)
  const request = {
    ...{ method: `X${long}`, path: long, host: long, requestId: long, policy: long, route: long },
    ...{ headers: ['user-agent', long], reason: { code: 'HTTP_BODY_LENGTH', detail: long } as const },
  }
  const tags = Array.from({ length: 16 }, (_, index) => ({
    ...{ name: `${index}`.padEnd(64, 'x'), header: 'user-agent', value: '' },
  }))
  const source = loggedSource()
  for (const text of requestSpans(source, loggedRequest({ ...request, trace }), trace, tags)) {
    t.ok(Buffer.byteLength(text) < 16_384, `${Buffer.byteLength(text)}`)
    t.match(JSON.parse(text), { name: 'HTTP web.shop.svc.cluster.local' })
  }
})
