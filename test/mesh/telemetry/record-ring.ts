// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { ENTRY_KINDS, RecordRing } from '../../../mesh/telemetry/record-ring.ts'

function drained(ring: RecordRing): string[] {
  const records: string[] = []
  ring.drain((bytes, offset, length) => records.push(bytes.toString('utf8', offset, offset + length)))
  return records
}

t.test('records come out as they went in, in order, over many rounds of the ring', async (t) => {
  const writer = new RecordRing(undefined, 4096)
  const reader = new RecordRing(writer.memory)
  const texts = ['', 'a', 'plain', 'grün', '漢字', '🐟'.repeat(20), 'x'.repeat(500)]
  let number = 0
  for (let round = 0; round < 300; round++) {
    const sent = texts.slice(0, 1 + (round % texts.length)).map((text) => `${number++} ${text}`)
    for (const text of sent) t.ok(writer.push(text))
    t.same(drained(reader), sent)
  }
  t.equal(writer.droppedCount, 0)
})

t.test('what is read each time before more is written stays at the beginning of the ring', async (t) => {
  const writer = new RecordRing(undefined, 4096)
  const reader = new RecordRing(writer.memory)
  const places = new Set<number>()
  for (let round = 0; round < 100; round++) {
    for (const text of ['one', 'two']) {
      places.add(writer.reserve(10))
      writer.push(text)
    }
    t.same(drained(reader), ['one', 'two'])
  }
  t.equal(places.size, 2)
  t.equal(reader.unreadBytes, 0)
})

t.test('positions that begin anew: reader and writer see the same, whatever is read when', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat({ max: 900 }), fc.boolean()), { maxLength: 200 }), (steps) => {
      const writer = new RecordRing(undefined, 2048)
      const reader = new RecordRing(writer.memory)
      const [sent, seen]: [string[], string[]] = [[], []]
      for (const [index, [length, isRead]] of steps.entries()) {
        const text = `${index} ${'x'.repeat(length)}`
        if (writer.push(text)) sent.push(text)
        if (isRead) seen.push(...drained(reader))
      }
      seen.push(...drained(reader))
      t.same(seen, sent)
      t.equal(writer.droppedCount + sent.length, steps.length)
    }),
  )
})

t.test('a ring that is never empty goes on beyond 2³¹ bytes', async (t) => {
  const ring = new RecordRing(undefined, 2 ** 20)
  const text = 'x'.repeat(16_000)
  let [sent, seen, index] = [0, 0, 0]
  const push = (): void => {
    if (ring.push(text, ENTRY_KINDS.record, index++)) sent++
  }
  push()
  while (index < 2 ** 31 / text.length + 200) {
    for (let each = 0; each < 40; each++) push()
    // One more comes while it is read.
    let isFirst = true
    ring.drain((_, __, ___, ____, owner) => {
      if (isFirst) push()
      isFirst = false
      if (owner !== seen++) t.fail(`${owner} after ${seen} entries`)
    })
  }
  t.equal(seen, sent - 1)
  t.equal(ring.droppedCount, 0)
})

t.test('a full ring drops, counts, and takes again what fits once it was read', async (t) => {
  const writer = new RecordRing(undefined, 1024)
  const reader = new RecordRing(writer.memory)
  const text = 'r'.repeat(100)
  let kept = 0
  while (writer.push(text)) kept++
  t.ok(kept >= 8, `${kept} records of 100 bytes in 1024`)
  t.equal(writer.push(text), false)
  t.equal(reader.droppedCount, 2)
  t.same(drained(reader), new Array(kept).fill(text))
  t.equal(writer.push(text), true)
  t.same(drained(reader), [text])
})

t.test('a record that is too long is cut; one larger than the ring is dropped', async (t) => {
  const ring = new RecordRing()
  t.ok(ring.push('y'.repeat(50_000)))
  t.same(drained(ring), ['y'.repeat(16_384)])
  const small = new RecordRing(undefined, 1024)
  t.equal(small.push('y'.repeat(2000)), false)
  t.equal(small.droppedCount, 1)
})

t.test('what an entry is and whose comes with it; unread bytes are counted', async (t) => {
  const ring = new RecordRing(undefined, 1024)
  t.equal(ring.unreadBytes, 0)
  ring.push('one')
  ring.push('two', ENTRY_KINDS.notable, 7)
  ring.push('three', ENTRY_KINDS.aside, 2 ** 31 - 1)
  t.ok(ring.unreadBytes >= 'onetwothree'.length)
  const heads: (readonly [kind: number, owner: number])[] = []
  ring.drain((_, __, ___, kind, owner) => heads.push([kind, owner]))
  t.same(heads, [
    [ENTRY_KINDS.record, 0],
    [ENTRY_KINDS.notable, 7],
    [ENTRY_KINDS.aside, 2 ** 31 - 1],
  ])
  t.equal(ring.unreadBytes, 0)
})
