// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { RecordBatch } from '../../../mesh/telemetry/record-batch.ts'
import { ENTRY_KINDS, type EntryKind } from '../../../mesh/telemetry/record-ring.ts'

/** A batch of texts, each with what it is and whose. */
function batchOf(entries: readonly (readonly [text: string, kind: EntryKind, owner: number])[]): RecordBatch {
  const batch = new RecordBatch(16)
  for (const [text, kind, owner] of entries) {
    const bytes = Buffer.from(`head${text}tail`)
    batch.add(bytes, 4, bytes.length - 8, kind, owner)
    bytes.fill(0)
  }
  return batch
}

const { record, notable } = ENTRY_KINDS

t.test('lines as they go to the file, and the text of each, however long', async (t) => {
  const texts = ['', 'one', 'grün', 'x'.repeat(10_000), '🐟']
  const batch = batchOf(texts.map((text, owner) => [text, record, owner]))
  t.equal(batch.lines.toString(), texts.map((text) => `${text}\n`).join(''))
  t.equal(batch.count, texts.length)
  t.same(
    texts.map((_, index) => [batch.textOf(index), batch.ownerOf(index)]),
    texts.map((text, owner) => [text, owner]),
  )
  t.equal(new RecordBatch().lines.length, 0)
})

t.test('what is written in place is a line like the others', async (t) => {
  const batch = new RecordBatch(16)
  for (const text of ['a', 'x'.repeat(100), 'grün']) {
    const at = batch.reserve(3 * text.length)
    batch.commit(at + batch.bytes.write(text, at), notable, 3)
    batch.add(Buffer.from('between'), 0, 7, record, 4)
  }
  t.equal(batch.lines.toString(), `a\nbetween\n${'x'.repeat(100)}\nbetween\ngrün\nbetween\n`)
  t.same([batch.notable(), batch.ownerOf(2), batch.ownerOf(3)], [['a', 'x'.repeat(100), 'grün'], 3, 4])
})

t.test('of each owner the last ones, and all that are looked at in each case', async (t) => {
  const batch = batchOf([
    ['a1', record, 1],
    ['a2', notable, 1],
    ['a3', record, 1],
    ['b1', record, 2],
    ['a4', record, 1],
    ['a5', notable, 1],
  ])
  const latest = (most: number) => batch.latest(most).map((index) => batch.textOf(index))
  t.same(latest(1), ['a2', 'b1', 'a4', 'a5'])
  t.same(latest(2), ['a2', 'a3', 'b1', 'a4', 'a5'])
  t.same(latest(Number.POSITIVE_INFINITY), ['a1', 'a2', 'a3', 'b1', 'a4', 'a5'])
  t.same(batch.notable(), ['a2', 'a5'])
})
