// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type ConnectionRecord, formatConnectionRecord } from '../../../mesh/telemetry/connection-record.ts'
import { RecordBatch } from '../../../mesh/telemetry/record-batch.ts'
import { RecordDecoder } from '../../../mesh/telemetry/record-decoder.ts'
import { RecordEncoder } from '../../../mesh/telemetry/record-encoder.ts'
import { ENTRY_KINDS, RecordRing } from '../../../mesh/telemetry/record-ring.ts'

const workload = (name: string, clusterId = 'k') => ({
  ...{ name, namespace: 'shop', identity: `spiffe://t/ns/shop/sa/${name}`, clusterId },
})
const [FRONT, CART, ODD] = [workload('front'), workload('cart'), workload('g"r\u00fcn\n漢', '')]
const RECORD: ConnectionRecord = {
  endMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  ...{
    direction: 'outbound',
    code: 'OK',
    detail: '',
    transport: 'HBONE',
    sourceAddress: { ip: '10.1.0.1', port: 1234 },
  },
  ...{
    source: FRONT,
    sourceIdentity: '',
    destinationAddress: { ip: '10.2.0.1', port: 15008 },
    destination: CART,
  },
  ...{ hboneAddress: '10.2.0.1:8080', service: 'cart.shop.svc.cluster.local', policy: '', via: '' },
  ...{ bytesSent: 1, bytesReceived: 2, durationMs: 3.06, connectMs: 0.5, retryCount: 0, trace: null },
}

/** What comes out of a ring, as main reads it: the text and the owner of each record; and in how many entries it came. */
function readerOf(ring: RecordRing) {
  const decoder = new RecordDecoder(ring)
  const counts = { brief: 0, pair: 0, text: 0 }
  const drained = (): (readonly [string, number])[] => {
    const batch = new RecordBatch()
    ring.drain((bytes, offset, length, kind, owner) => {
      if (kind === ENTRY_KINDS.pair) {
        counts.pair++
        decoder.learn(owner, offset, length)
      } else if (kind === ENTRY_KINDS.brief) {
        counts.brief++
        if (!decoder.addTo(batch, offset, length, owner)) throw new Error('its pair was not told')
      } else {
        counts.text++
        batch.add(bytes, offset, length, kind, owner)
      }
    })
    return Array.from({ length: batch.count }, (_, index) => [batch.textOf(index), batch.ownerOf(index)])
  }
  return { drained, counts }
}

t.test('a line is the same whichever way it comes, whatever a record has', async (t) => {
  const ring = new RecordRing(undefined, 65_536)
  const encoder = new RecordEncoder(ring)
  const { drained, counts } = readerOf(ring)
  const workloads = fc.constantFrom(FRONT, CART, ODD, null)
  const ms = fc.oneof(
    fc.double({ min: 0, max: 1e7, noNaN: true }),
    fc.constantFrom(0, 0.04, 0.05, 9.95, 1e13),
  )
  const address = fc.record({
    ip: fc.constantFrom('10.1.0.1', '0.0.0.0', '255.255.255.255', 'fd00::1', '::'),
    port: fc.constantFrom(0, 1, 8080, 65_535),
  })
  const record = fc.record({
    endMs: fc.oneof(
      fc.integer({ min: 0, max: 4e12 }),
      fc.double({ min: RECORD.endMs, max: RECORD.endMs + 3000, noNaN: true }),
    ),
    direction: fc.constantFrom('outbound' as const, 'inbound' as const),
    code: fc.constantFrom('OK' as const, 'OK' as const, 'POLICY_DENY' as const),
    detail: fc.constantFrom('', 'why'),
    transport: fc.constantFrom('HBONE' as const, 'TCP' as const, 'LOCAL' as const),
    sourceAddress: address,
    source: workloads,
    destination: workloads,
    sourceIdentity: fc.constantFrom('', 'spiffe://other/x'),
    destinationAddress: fc.option(address),
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
      for (const [owner, each] of records.entries())
        encoder.push(each, ENTRY_KINDS.record, owner, (owner % 4) - 1)
      t.same(
        drained(),
        records.map((each, owner) => [formatConnectionRecord(each), owner]),
      )
    }),
    { numRuns: 500 },
  )
  for (const [entry, count] of Object.entries(counts)) t.ok(count > 50, `${count} entries: ${entry}`)
})

t.test('digits of all lengths', async (t) => {
  const ring = new RecordRing()
  const encoder = new RecordEncoder(ring)
  const { drained, counts } = readerOf(ring)
  const numbers = [0, 9, 10, 99, 100, 4_294_967_295, 4_294_967_296, Number.MAX_SAFE_INTEGER]
  for (let power = 1; power < 16; power++) numbers.push(10 ** power - 1, 10 ** power, 10 ** power + 1)
  for (const bytesSent of numbers) {
    encoder.push(
      { ...RECORD, bytesSent, durationMs: Math.min(bytesSent / 10, 1e11) },
      ENTRY_KINDS.record,
      0,
      5,
    )
    const [[text = ''] = []] = drained()
    t.equal((JSON.parse(text) as { bytes_sent: number }).bytes_sent, bytesSent)
  }
  t.same(counts, { brief: numbers.length, pair: 1, text: 0 })
})

t.test('what is notable comes as text: it is read where it is', async (t) => {
  const ring = new RecordRing()
  const { drained, counts } = readerOf(ring)
  t.ok(new RecordEncoder(ring).push(RECORD, ENTRY_KINDS.notable, 7, 0))
  t.same(drained(), [[formatConnectionRecord(RECORD), 7]])
  t.same(counts, { brief: 0, pair: 0, text: 1 })
})

t.test('a full ring drops and counts, at its end too', async (t) => {
  const ring = new RecordRing(undefined, 4096)
  const encoder = new RecordEncoder(ring)
  const { drained } = readerOf(ring)
  for (let round = 0; round < 50; round++) {
    let kept = 0
    while (encoder.push(RECORD, ENTRY_KINDS.record, 1, 8191)) kept++
    t.ok(kept >= 30, `${kept} records in 4096 bytes`)
    t.ok(ring.droppedCount > round)
    t.same(drained(), new Array(kept).fill([formatConnectionRecord(RECORD), 1]))
  }
})

t.test(
  'a number stands for one pair until it is told of another; nothing of an earlier one is in a line',
  async (t) => {
    const [rings, other] = [[new RecordRing(), new RecordRing()], { ip: '10.9.9.8', port: 8 }]
    const workers = rings.map((ring) => ({ encoder: new RecordEncoder(ring), ...readerOf(ring) }))
    const changes = [
      ...[{ direction: 'inbound' }, { transport: 'TCP' }, { via: 'shop/waypoint-1' }, { policy: 'a/b' }],
      ...[
        { destinationAddress: other },
        { destinationAddress: { ...other, port: 9 } },
        { service: 'b.shop' },
      ],
      ...[{ destinationAddress: null }, { hboneAddress: '10.9.9.7:7' }, { sourceIdentity: 'spiffe://d/x' }],
      ...[{ source: ODD }, { destination: ODD }, {}],
    ] as const
    for (const [at, change] of changes.entries())
      for (const [index, { encoder, drained }] of workers.entries()) {
        const record = { ...RECORD, ...change }
        for (const sourceAddress of [RECORD.sourceAddress, other])
          t.ok(encoder.push({ ...record, sourceAddress }, ENTRY_KINDS.record, at, index))
        const lines = [record, { ...record, sourceAddress: other }].map(formatConnectionRecord)
        t.same(
          drained(),
          lines.map((line) => [line, at]),
          JSON.stringify(change),
        )
      }
    const counts = { brief: 2 * changes.length, pair: changes.length, text: 0 }
    t.same(
      workers.map((worker) => worker.counts),
      [counts, counts],
    )
  },
)
