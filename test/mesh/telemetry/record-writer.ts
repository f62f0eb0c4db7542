// SPDX-License-Identifier: Apache-2.0
// What does not fit and files that fail are tried in test/netns; here: who hears of records.
import { pino } from 'pino'
import t from 'tap'
import { isOpening } from '../../../mesh/telemetry/connection-record.ts'
import { RecordRing } from '../../../mesh/telemetry/record-ring.ts'
import { RecordWriter } from '../../../mesh/telemetry/record-writer.ts'

t.test('each record is heard of once, also where none is written; what opens is no record', async (t) => {
  const rings = [new RecordRing(undefined, 4096), new RecordRing(undefined, 4096)]
  const [heard, opened]: [string[], string[]] = [[], []]
  const writer = new RecordWriter('off', () => rings, pino({ level: 'silent' }), {
    onRecord: (line) => heard.push(line),
    isAside: isOpening,
    onAside: (line) => opened.push(line),
  })
  const opening = '{"time":"2026-01-01T00:00:00.000Z","msg":"connection opened","direction":"inbound"}'
  rings[0]?.push('one')
  rings[0]?.push(opening)
  rings[1]?.push('two')
  writer.drain()
  writer.drain()
  t.same(heard, ['one', 'two'])
  t.same(opened, [opening])
  t.same(writer.recent(), ['one', 'two'])
})
