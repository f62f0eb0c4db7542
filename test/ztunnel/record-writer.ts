// SPDX-License-Identifier: Apache-2.0
// What does not fit and files that fail are tried in test/netns; here: who hears of records.
import { pino } from 'pino'
import t from 'tap'
import { RecordRing } from '../../mesh/telemetry/record-ring.ts'
import { RecordWriter } from '../../ztunnel/record-writer.ts'

t.test('each record is heard of once, also where none is written', async (t) => {
  const rings = [new RecordRing(undefined, 4096), new RecordRing(undefined, 4096)]
  const heard: string[] = []
  const log = pino({ level: 'silent' })
  const writer = new RecordWriter(
    'off',
    () => rings,
    log,
    (text) => heard.push(text),
  )
  rings[0]?.push('one')
  rings[1]?.push('two')
  writer.drain()
  writer.drain()
  t.same(heard, ['one', 'two'])
  t.same(writer.recent(), ['one', 'two'])
})
