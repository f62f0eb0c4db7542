// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  type ConnectionRecord,
  formatConnectionRecord,
  formatOpening,
  isTraced,
} from '../../../mesh/telemetry/connection-record.ts'
import { exportConnections, spanOf } from '../../../ztunnel/tracing/connection-spans.ts'

const IDS = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7' }
const PARENT = 'b7ad6b7169203331'
const RECORD: ConnectionRecord = {
  ...{ endMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6), direction: 'outbound', code: 'OK', detail: '' },
  ...{
    transport: 'HBONE',
    sourceAddress: { ip: '10.1.0.1', port: 1 },
    sourceIdentity: '',
    policy: '',
    via: '',
  },
  source: { name: 'front', namespace: 'shop', identity: 'spiffe://t/ns/shop/sa/front', clusterId: 'k' },
  ...{
    destinationAddress: { ip: '10.2.0.1', port: 15_008 },
    hboneAddress: '10.2.0.1:8080',
    destination: null,
  },
  ...{ service: 'cart.shop.svc.cluster.local', bytesSent: 10, bytesReceived: 20, durationMs: 1500.5 },
  ...{ connectMs: 2.5, retryCount: 1, trace: { ...IDS, parentSpanId: PARENT } },
}
const lineOf = (changes: Partial<ConnectionRecord> = {}): string =>
  formatConnectionRecord({ ...RECORD, ...changes })

t.test('a record is a span: ids, parent, times, attributes', async (t) => {
  const { attributes = [], ...span } = spanOf(lineOf()) ?? {}
  t.strictSame(span, {
    ...{ ...IDS, parentSpanId: PARENT },
    ...{ name: 'outbound cart.shop.svc.cluster.local', kind: 3 },
    startTimeUnixNano: String(BigInt(Date.UTC(2026, 0, 2, 3, 4, 3, 505)) * 1_000_000n + 500_000n),
    endTimeUnixNano: String(BigInt(RECORD.endMs) * 1_000_000n),
    status: {},
  })
  const values = Object.fromEntries(attributes.map(({ key, value }) => [key, Object.entries(value)[0]]))
  t.strictSame(values, {
    'network.transport': ['stringValue', 'tcp'],
    'source.address': ['stringValue', '10.1.0.1:1'],
    'sidestep.source.workload': ['stringValue', 'front'],
    'sidestep.source.namespace': ['stringValue', 'shop'],
    'sidestep.source.identity': ['stringValue', 'spiffe://t/ns/shop/sa/front'],
    'destination.address': ['stringValue', '10.2.0.1:15008'],
    'sidestep.hbone.authority': ['stringValue', '10.2.0.1:8080'],
    'server.address': ['stringValue', 'cart.shop.svc.cluster.local'],
    'sidestep.transport': ['stringValue', 'HBONE'],
    'sidestep.reason': ['stringValue', 'OK'],
    'sidestep.bytes_sent': ['intValue', '10'],
    'sidestep.bytes_received': ['intValue', '20'],
    'sidestep.retries': ['intValue', '1'],
    'sidestep.connect_ms': ['doubleValue', 2.5],
  })
})

t.test('one that failed says of what; the first of a trace has no parent', async (t) => {
  const span = spanOf(
    lineOf({
      ...{ direction: 'inbound', code: 'POLICY_DENY', policy: 'shop/no', detail: 'by a rule', connectMs: -1 },
      ...{ service: '', trace: { ...IDS, parentSpanId: '' } },
    }),
  )
  t.match(span, { name: 'inbound', kind: 2, status: { code: 2, message: 'by a rule' } })
  t.notOk(Object.hasOwn(span ?? {}, 'parentSpanId'))
  const keys = span?.attributes.map(({ key }) => key) ?? []
  t.ok(keys.includes('error.type'))
  t.ok(keys.includes('sidestep.policy'))
  t.notOk(keys.includes('sidestep.connect_ms'))
})

t.test('only what carries ids is a span, whatever a peer writes into its fields', async (t) => {
  t.ok(isTraced(lineOf()))
  t.notOk(isTraced(lineOf({ trace: null })))
  t.notOk(isTraced(formatOpening(0, RECORD)))
  const hostile = lineOf({ trace: null, code: 'POLICY_DENY', detail: ',"trace_id":"1"' })
  t.notOk(isTraced(hostile))
  for (const line of ['', '{}', 'null', '[1]', hostile, lineOf().slice(0, 300)]) t.equal(spanOf(line), null)
})

t.test('a request names the node once and has every span, but for lines that are cut', async (t) => {
  const text = exportConnections([lineOf(), lineOf().slice(0, 300), lineOf()], {
    ...{ serviceName: 'sidestep-ztunnel', version: '1.2.3', attributes: { 'k8s.node.name': 'n1' } },
  })
  const { resourceSpans } = JSON.parse(text) as {
    resourceSpans: { resource: unknown; scopeSpans: unknown }[]
  } // as: made here
  t.equal(resourceSpans.length, 1)
  t.match(
    JSON.stringify(resourceSpans[0]?.resource),
    /"service.name".*"k8s.node.name","value":{"stringValue":"n1"}/,
  )
  t.match(resourceSpans[0]?.scopeSpans, [{ scope: { version: '1.2.3' }, spans: { length: 2 } }])
})
