// SPDX-License-Identifier: Apache-2.0
// What does not fit and files that fail are tried in test/netns; here: who hears of records, and which are kept.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { type ConnectionRecord, formatConnectionRecord } from '../../../mesh/telemetry/connection-record.ts'
import { PAIR_AT } from '../../../mesh/telemetry/record-brief.ts'
import { RecordEncoder } from '../../../mesh/telemetry/record-encoder.ts'
import { ENTRY_KINDS, RecordRing } from '../../../mesh/telemetry/record-ring.ts'
import { RECENT_RECORDS, RecordWriter } from '../../../mesh/telemetry/record-writer.ts'

/** A writer with two rings, and what it tells, in order. */
function setUp(target: string) {
  const rings = [new RecordRing(undefined, 65_536), new RecordRing(undefined, 65_536)] as const
  const heard: string[] = []
  const writer = new RecordWriter(target, () => rings, pino({ level: 'silent' }), {
    onRecords: (batch) => heard.push(...batch.lines.toString().split('\n').slice(0, -1)),
    onAside: (line) => heard.push(`aside ${line}`),
  })
  return { rings, heard, writer }
}

t.test(
  'each record is heard of once, in order, also where none is written; an aside is no record',
  async (t) => {
    const { rings, heard, writer } = setUp('off')
    rings[0].push('one')
    rings[0].push('opened', ENTRY_KINDS.aside)
    rings[0].push('two', ENTRY_KINDS.notable)
    rings[1].push('three')
    writer.drain()
    writer.drain()
    t.same(heard, ['one', 'aside opened', 'two', 'three'])
    t.same(writer.recent(), ['one', 'two', 'three'])
  },
)

t.test('the last records are kept, however they came', async (t) => {
  const { rings, writer } = setUp('off')
  const all = Array.from({ length: RECENT_RECORDS + 500 }, (_, index) => `record ${index}`)
  for (const [index, text] of all.entries()) {
    rings[0].push(text)
    if (index % 7 === 0 || index % 300 > 200) writer.drain()
  }
  writer.drain()
  t.same(writer.recent(), all.slice(-RECENT_RECORDS))
})

t.test('the file has a line of each', async (t) => {
  const path = join(t.testdir(), 'records')
  const { rings, writer } = setUp(path)
  rings[1].push('grün')
  rings[0].push('opened', ENTRY_KINDS.aside)
  writer.drain()
  rings[0].push('🐟')
  await writer.close()
  t.equal(readFileSync(path, 'utf8'), 'grün\n🐟\n')
})

t.test(
  'what comes in short is a line like the others; what nobody can read is counted as lost',
  async (t) => {
    const { rings, heard, writer } = setUp('off')
    const [front, cart] = ['front', 'cart'].map((name) => ({
      name,
      namespace: 'shop',
      identity: '',
      clusterId: '',
    }))
    const record: ConnectionRecord = {
      ...{
        endMs: 1e12,
        direction: 'outbound',
        code: 'OK',
        detail: '',
        transport: 'HBONE',
        service: '',
        via: '',
      },
      ...{
        sourceAddress: { ip: '10.1.0.1', port: 1234 },
        source: front ?? null,
        sourceIdentity: '',
        destination: cart ?? null,
      },
      ...{
        destinationAddress: { ip: '10.2.0.1', port: 15_008 },
        hboneAddress: '10.2.0.1:8080',
        policy: '',
        trace: null,
      },
      ...{ bytesSent: 1, bytesReceived: 2, durationMs: 3.06, connectMs: 0.5, retryCount: 0 },
    }
    const lines: string[] = []
    for (const [index, ring] of rings.entries()) {
      const encoder = new RecordEncoder(ring)
      ring.push('before')
      encoder.push({ ...record, bytesSent: index }, ENTRY_KINDS.record, 1, 0)
      encoder.push({ ...record, code: 'POLICY_DENY' }, ENTRY_KINDS.notable, 1, 0)
      lines.push('before', formatConnectionRecord({ ...record, bytesSent: index }))
      lines.push(formatConnectionRecord({ ...record, code: 'POLICY_DENY' }))
    }
    writer.drain()
    t.same(heard, lines)

    const start = rings[0].reserve(100)
    rings[0].bytes.writeUInt32LE(7, start + PAIR_AT)
    rings[0].commit(100, ENTRY_KINDS.brief, 1)
    writer.drain()
    t.same([heard.length, writer.lostCount], [lines.length, 1])
  },
)
