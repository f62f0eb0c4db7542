// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  type ConnectionRecord,
  formatConnectionRecord,
  formatOpening,
} from '../../../mesh/telemetry/connection-record.ts'

const WORKLOAD = { name: 'cart', namespace: 'shop', identity: 'spiffe://t/ns/shop/sa/cart', clusterId: 'k' }
const RECORD: ConnectionRecord = {
  endMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  direction: 'outbound',
  code: 'OK',
  detail: '',
  transport: 'HBONE',
  sourceAddress: { ip: '10.1.0.1', port: 1234 },
  source: WORKLOAD,
  sourceIdentity: 'unused when the workload is known',
  destinationAddress: { ip: 'fd00::1', port: 8080 },
  hboneAddress: '10.2.0.1:8080',
  service: 'cart.shop.svc.cluster.local',
  destination: null,
  policy: '',
  via: '',
  bytesSent: 1,
  bytesReceived: 2,
  durationMs: 3.06,
  connectMs: 0.5,
  retryCount: 0,
  trace: null,
}

t.test('a record is one line of JSON with the names of Istio', async (t) => {
  t.same(JSON.parse(formatConnectionRecord(RECORD)), {
    time: '2026-01-02T03:04:05.006Z',
    msg: 'connection complete',
    reason: 'OK',
    direction: 'outbound',
    transport: 'HBONE',
    'src.addr': '10.1.0.1:1234',
    'src.workload': 'cart',
    'src.namespace': 'shop',
    'src.identity': 'spiffe://t/ns/shop/sa/cart',
    'src.cluster': 'k',
    'dst.addr': '[fd00::1]:8080',
    'dst.hbone_addr': '10.2.0.1:8080',
    'dst.service': 'cart.shop.svc.cluster.local',
    bytes_sent: 1,
    bytes_recv: 2,
    duration_ms: 3.1,
    connect_ms: 0.5,
  })
})

t.test('a connection that is a span says which', async (t) => {
  const ids = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
  const of = (parentSpanId: string): unknown =>
    JSON.parse(formatConnectionRecord({ ...RECORD, code: 'DRAIN', trace: { ...ids, parentSpanId } }))
  t.match(of('c'.repeat(16)), {
    ...{ trace_id: ids.traceId, span_id: ids.spanId, parent_span_id: 'c'.repeat(16) },
    reason: 'DRAIN',
    fix: /drained/,
  })
  t.notMatch(of(''), { parent_span_id: /./ })
})

t.test('times are right at every millisecond, whatever came before', async (t) => {
  for (const offsetMs of [0, 9, 10, 99, 100, 999, 1000, 59_999, 60_000, 5, -1, 86_400_000, 0.75]) {
    const endMs = RECORD.endMs + offsetMs
    const { time } = JSON.parse(formatConnectionRecord({ ...RECORD, endMs })) as { time: string } // as: made above
    t.equal(time, new Date(Math.floor(endMs)).toISOString())
  }
})

t.test('what a peer wrote is escaped', async (t) => {
  const hostile = '"\n\\,"bytes_sent":9\u2028'
  const record = { ...RECORD, hboneAddress: hostile, service: hostile, source: null, sourceIdentity: hostile }
  const parsed = JSON.parse(formatConnectionRecord(record)) as Record<string, unknown> // as: made above
  t.equal(parsed['dst.hbone_addr'], hostile)
  t.equal(parsed['dst.service'], hostile)
  t.equal(parsed['src.identity'], hostile)
  t.equal(parsed.bytes_sent, 1)
  t.notMatch(formatConnectionRecord(record), '\n')
})

t.test('the longest hostile texts leave a record whole', async (t) => {
  const hostile = '\u0001'.repeat(10_000)
  const record: ConnectionRecord = {
    ...RECORD,
    code: 'CONNECT_AUTHORITY',
    ...{ detail: hostile, policy: hostile, via: hostile, service: hostile, destinationAddress: null },
    ...{ hboneAddress: hostile, source: { ...WORKLOAD, name: hostile, clusterId: hostile } },
  }
  const text = formatConnectionRecord(record)
  t.ok(Buffer.byteLength(text) <= 16_384, `${Buffer.byteLength(text)} bytes`)
  const parsed = JSON.parse(text) as Record<string, unknown> // as: made above
  t.equal(parsed['dst.hbone_addr'], `${'\u0001'.repeat(256)}…`)
  t.equal(parsed['dst.addr'], parsed['dst.hbone_addr'])
})

t.test('a failure says why and what to do; what never connected has no time to connect', async (t) => {
  const record = { ...RECORD, code: 'POLICY_DENY', detail: 'by shop/no-batch', connectMs: -1 } as const
  const parsed = JSON.parse(formatConnectionRecord(record)) as Record<string, unknown> // as: made above
  t.equal(parsed.reason, 'POLICY_DENY')
  t.equal(parsed.detail, 'by shop/no-batch')
  t.type(parsed.fix, 'string')
  t.notOk('connect_ms' in parsed)
})

t.test('what opens has the ends of its record, and is told apart from it', async (t) => {
  const opening = formatOpening(RECORD.endMs, RECORD)
  const record = formatConnectionRecord(RECORD)
  const { reason: _, msg, ...ends } = JSON.parse(record)
  const { msg: opened, ...found } = JSON.parse(opening)
  t.same([msg, opened], ['connection complete', 'connection opened'])
  t.match(ends, found)
  t.same([found['src.addr'], found['dst.addr']], ['10.1.0.1:1234', '[fd00::1]:8080'])
})
