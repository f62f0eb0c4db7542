// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { DerReader } from '../../../mesh/identity/der-reader.ts'

t.test('elements are walked in order; what is inside one is its own level', async (t) => {
  const der = Buffer.from('300602010502010630020500', 'hex')
  const outer = new DerReader(der)
  t.ok(outer.nextIs(0x30))
  const inner = outer.inside()
  t.ok(inner.nextIs(2))
  t.same([...inner.content], [5])
  t.same([...inner.whole], [2, 1, 5])
  t.ok(inner.next())
  t.notOk(inner.next())
  t.ok(inner.isAtEnd)
  t.notOk(outer.isAtEnd)
  t.notOk(outer.nextIs(2), 'it is a sequence')
  t.ok(outer.isAtEnd)
})

t.test('lengths are as short as can be and inside what there is', async (t) => {
  const bad = [
    '',
    '30',
    '3001',
    '0480',
    '048101aa',
    '0482000100',
    '04850000000001aa',
    '0484ffffffff',
    '0403aabb',
  ]
  for (const hex of bad) t.notOk(new DerReader(Buffer.from(hex, 'hex')).next(), hex)
  const long = Buffer.concat([Buffer.from('04820100', 'hex'), Buffer.alloc(256)])
  const reader = new DerReader(long)
  t.ok(reader.next())
  t.equal(reader.content.length, 256)
})

t.test('whatever the bytes are, a walk ends within them', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const reader = new DerReader(Buffer.from(bytes))
      let at = 0
      while (reader.next()) {
        t.ok(reader.head === at && reader.stop > at && reader.stop <= bytes.length)
        at = reader.stop
      }
    }),
  )
})
