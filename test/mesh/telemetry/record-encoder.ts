// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type ConnectionRecord, formatConnectionRecord } from '../../../mesh/telemetry/connection-record.ts'
import { RecordEncoder } from '../../../mesh/telemetry/record-encoder.ts'
import { ENTRY_KINDS, RecordRing } from '../../../mesh/telemetry/record-ring.ts'

const workload = (name: string, clusterId = 'k') => ({
  ...{ name, namespace: 'shop', identity: `spiffe://t/ns/shop/sa/${name}`, clusterId },
})
const [FRONT, CART, ODD] = [workload('front'), workload('cart'), workload('g"r\u00fcn\n漢', '')]
const RECORD: ConnectionRecord = {
  endMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  ...{ direction: 'outbound', code: 'OK', detail: '', transport: 'HBONE', sourceAddress: '10.1.0.1:1234' },
  ...{ source: FRONT, sourceIdentity: '', destinationAddress: '10.2.0.1:15008', destination: CART },
  ...{ hboneAddress: '10.2.0.1:8080', service: 'cart.shop.svc.cluster.local', policy: '', via: '' },
  ...{ bytesSent: 1, bytesReceived: 2, durationMs: 3.06, connectMs: 0.5, retryCount: 0, trace: null },
}

/** What came out of the ring: text, kind, owner. */
function drained(ring: RecordRing): (readonly [string, number, number])[] {
  const entries: (readonly [string, number, number])[] = []
  ring.drain((bytes, offset, length, kind, owner) =>
    entries.push([bytes.toString('utf8', offset, offset + length), kind, owner]),
  )
  return entries
}

t.test('bytes and text say the same, whatever a record has', async (t) => {
  const ring = new RecordRing(undefined, 65_536)
  const encoder = new RecordEncoder(ring)
  const workloads = fc.constantFrom(FRONT, CART, ODD, null)
  const ms = fc.oneof(
    fc.double({ min: 0, max: 1e7, noNaN: true }),
    fc.constantFrom(0, 0.04, 0.05, 9.95, 1e13),
  )
  const record = fc.record({
    endMs: fc.oneof(
      fc.integer({ min: 0, max: 4e12 }),
      fc.double({ min: RECORD.endMs, max: RECORD.endMs + 3000, noNaN: true }),
    ),
    direction: fc.constantFrom('outbound' as const, 'inbound' as const),
    code: fc.constantFrom('OK' as const, 'OK' as const, 'POLICY_DENY' as const),
    detail: fc.constantFrom('', 'why'),
    transport: fc.constantFrom('HBONE' as const, 'TCP' as const, 'LOCAL' as const),
    sourceAddress: fc.constantFrom('10.1.0.1:1', '[fd00::1]:65535', '', 'no"address', 'ü', 'x'.repeat(300)),
    source: workloads,
    destination: workloads,
    sourceIdentity: fc.constantFrom('', 'spiffe://other/x'),
    destinationAddress: fc.constantFrom('10.2.0.1:8080', '[fd00::2]:80'),
    hboneAddress: fc.constantFrom('', '10.2.0.1:8080', 'a\u0000"name'),
    service: fc.constantFrom('', 'cart.shop.svc.cluster.local'),
    policy: fc.constantFrom('', 'shop/deny'),
    via: fc.constantFrom('', 'shop/waypoint-1'),
    bytesSent: fc.oneof(fc.maxSafeNat(), fc.nat({ max: 20 })),
    bytesReceived: fc.oneof(fc.maxSafeNat(), fc.nat({ max: 20 })),
    durationMs: ms,
    connectMs: fc.oneof(ms, fc.constant(-1)),
    retryCount: fc.constantFrom(0, 0, 0, 2),
    trace: fc.constantFrom(null, null, { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), parentSpanId: '' }),
  })
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 20 }), (records) => {
      for (const [owner, each] of records.entries()) encoder.push(each, ENTRY_KINDS.notable, owner)
      t.same(
        drained(ring),
        records.map((each, owner) => [formatConnectionRecord(each), ENTRY_KINDS.notable, owner]),
      )
    }),
    { numRuns: 500 },
  )
})

t.test('digits of all lengths', async (t) => {
  const ring = new RecordRing()
  const encoder = new RecordEncoder(ring)
  const numbers = [0, 9, 10, 99, 100, 4_294_967_295, 4_294_967_296, Number.MAX_SAFE_INTEGER]
  for (let power = 1; power < 16; power++) numbers.push(10 ** power - 1, 10 ** power, 10 ** power + 1)
  for (const bytesSent of numbers) {
    encoder.push({ ...RECORD, bytesSent, durationMs: Math.min(bytesSent / 10, 1e11) }, ENTRY_KINDS.record, 0)
    const [[text = ''] = []] = drained(ring)
    t.equal((JSON.parse(text) as { bytes_sent: number }).bytes_sent, bytesSent)
  }
})

t.test('a full ring drops and counts, at its end too', async (t) => {
  const ring = new RecordRing(undefined, 4096)
  const encoder = new RecordEncoder(ring)
  const text = formatConnectionRecord(RECORD)
  for (let round = 0; round < 50; round++) {
    let kept = 0
    while (encoder.push(RECORD, ENTRY_KINDS.record, 1)) kept++
    t.ok(kept >= 4, `${kept} records of ${text.length} bytes in 4096`)
    t.equal(ring.droppedCount, round + 1)
    t.same(drained(ring), new Array(kept).fill([text, ENTRY_KINDS.record, 1]))
  }
})
