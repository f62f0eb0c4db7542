// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { FrameReader } from '../../../ztunnel/dns/dns-frames.ts'

const framed = (message: Uint8Array): Buffer => {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length)
  return Buffer.concat([length, message])
}

t.test('messages are the same in whatever pieces they arrive', async (t) => {
  const sizes = fc.oneof(fc.nat({ max: 40 }), fc.constantFrom(255, 256, 5000, 65_535))
  const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 70_000 })))
  fc.assert(
    fc.property(fc.array(sizes, { maxLength: 6 }), cuts, fc.nat({ max: 9 }), (lengths, pieces, offset) => {
      const messages = lengths.map((length, index) => framed(Buffer.alloc(length, index + 1)))
      const stream = Buffer.concat(messages)
      const found: Buffer[] = []
      const reader = new FrameReader((bytes, start, end) =>
        found.push(Buffer.from(bytes.subarray(start, end))),
      )
      let at = 0
      for (const piece of [...pieces, stream.length]) {
        // As the reactor does: every piece at the same place of the same memory.
        const chunk = Buffer.concat([Buffer.alloc(offset), stream.subarray(at, at + piece)])
        reader.read(chunk, offset, chunk.length)
        chunk.fill(0xff)
        at = Math.min(stream.length, at + piece)
      }
      t.same(found, messages)
      t.notOk(reader.hasPartial)
    }),
    { numRuns: 200 },
  )
})

t.test('the beginning of a message is none', async (t) => {
  const found: number[] = []
  const reader = new FrameReader((_, start, end) => found.push(end - start))
  reader.read(Buffer.of(0), 0, 1)
  t.ok(reader.hasPartial)
  reader.read(Buffer.of(3, 1, 2), 0, 3)
  t.same(found, [])
  reader.read(Buffer.of(3, 0, 0), 0, 3)
  t.same(found, [5, 2], 'an empty one is one')
})
