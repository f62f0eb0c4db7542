// SPDX-License-Identifier: Apache-2.0
// What does not fit and files that fail are tried in test/netns; here: who hears of records, and which are kept.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
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
