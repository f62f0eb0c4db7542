// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { MeshError } from '../../../../mesh/errors/mesh-error.ts'
import { isRefusal } from '../../../../mesh/errors/refusal.ts'
import {
  Attributes,
  attributeEnd,
  findAttribute,
  MAX_REQUEST_BYTES,
  MESSAGE_HEADER_BYTES,
  MessageBuilder,
  type NetlinkMessage,
  parseAttributes,
  parseMessages,
} from '../../../../mesh/reactor/netlink/message.ts'

function messagesOf(bytes: Buffer): readonly NetlinkMessage[] {
  const messages = parseMessages(bytes)
  if (isRefusal(messages)) throw new Error(messages.detail)
  return messages
}
function attributesAt(bytes: Buffer, offset = 0): Attributes {
  const attributes = parseAttributes(bytes, offset)
  if (isRefusal(attributes)) throw new Error(attributes.detail)
  return attributes
}
const header = (length: number): Buffer => {
  const bytes = Buffer.alloc(MESSAGE_HEADER_BYTES)
  bytes.writeUInt32LE(length, 0)
  return bytes
}

t.test('a message has the bytes the kernel expects', async (t) => {
  const bytes = new MessageBuilder()
    .begin(0x10, 0x5, 7)
    .raw(Buffer.of(1, 2))
    .text(3, 'lo')
    .u8(4, 9)
    .end().bytes
  t.equal(
    bytes.toString('hex'),
    `${'24000000'}${'1000'}${'0500'}${'07000000'}${'00000000'}${'01020000'}${'0700'}${'0300'}${'6c6f0000'}${'0500'}${'0400'}${'09000000'}`,
  )
})

t.test('nested attributes carry the flag and the length of what is inside', async (t) => {
  const bytes = new MessageBuilder()
    .begin(1, 0, 1)
    .nest(18, (inner) => inner.u32be(1, 0x01020304))
    .end().bytes
  t.equal(bytes.subarray(MESSAGE_HEADER_BYTES).toString('hex'), '0c00128008000100' + '01020304')
})

t.test('what is written is read back', async (t) => {
  const builder = new MessageBuilder()
  builder.begin(20, 1, 1).raw(Buffer.alloc(8)).u32(5, 0xfffffff0).text(6, 'eth0')
  builder.nest(7, (list) => list.u32be(1, 11).u32be(1, 12)).end()
  builder.begin(21, 2, 2).end()
  const [first, second] = messagesOf(builder.bytes)
  t.match(first, { type: 20, flags: 1, sequence: 1 })
  t.match(second, { type: 21, flags: 2, sequence: 2 })
  const attributes = attributesAt(first?.payload ?? Buffer.alloc(0), 8)
  t.equal(attributes.u32(5), 0xfffffff0)
  t.equal(attributes.text(6), 'eth0')
  const list = attributes.nested(7)
  t.same(list instanceof Attributes && list.all(1).map((value) => value.readUInt32BE(0)), [11, 12])
})

t.test('missing and short attributes are undefined', async (t) => {
  const attributes = attributesAt(Buffer.from('050001000900000004000200', 'hex'))
  t.equal(attributes.u32(1), undefined)
  t.equal(attributes.u32be(1), undefined)
  t.equal(attributes.u64be(1), undefined)
  t.equal(attributes.text(2), '')
  t.equal(attributes.text(3), undefined)
  t.equal(attributes.get(3), undefined)
})

t.test('an 8-byte number is read exactly', async (t) => {
  t.equal(attributesAt(Buffer.from('0c0001000000000100000002', 'hex')).u64be(1), 2 ** 32 + 2)
})

t.test('lengths that lie are refused', async (t) => {
  const cases: [string, Buffer][] = [
    ['half a header', Buffer.alloc(MESSAGE_HEADER_BYTES - 1)],
    ['length zero', header(0)],
    ['shorter than its header', header(MESSAGE_HEADER_BYTES - 1)],
    ['longer than the datagram', header(MESSAGE_HEADER_BYTES + 1)],
    ['the largest length', header(0xffffffff)],
    ['a second message cut', Buffer.concat([header(MESSAGE_HEADER_BYTES), Buffer.alloc(3)])],
  ]
  for (const [name, bytes] of cases) t.ok(isRefusal(parseMessages(bytes)), name)
  t.ok(isRefusal(parseAttributes(Buffer.from('03000100', 'hex'))), 'attribute shorter than its header')
  t.ok(isRefusal(parseAttributes(Buffer.from('0900010000000000', 'hex'))), 'attribute longer than the rest')
  t.ok(isRefusal(parseAttributes(Buffer.alloc(4), 8)), 'header longer than the payload')
})

t.test('an attribute is found where it is, and not read beyond its end', async (t) => {
  const written = new MessageBuilder()
    .begin(1, 0, 1)
    .u8(7, 1)
    .nest(2, (inner) => inner.u8(1, 5).attribute(4, Buffer.of(9, 8, 7, 6)))
    .end().bytes
  const nest = findAttribute(written, MESSAGE_HEADER_BYTES, written.length, 2, 0)
  const end = attributeEnd(written, nest)
  t.equal(end, written.length)
  const four = findAttribute(written, nest, end, 4, 4)
  t.same([...written.subarray(four, attributeEnd(written, four))], [9, 8, 7, 6])
  t.equal(findAttribute(written, nest, end, 4, 5), -1, 'too short')
  t.equal(findAttribute(written, nest, end, 7, 0), -1, 'on another level')
  t.equal(findAttribute(written, nest, end - 1, 4, 0), -1, 'cut')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(8), fc.nat(8), (bytes, type, minBytes) => {
      const buffer = Buffer.from(bytes)
      const at = findAttribute(buffer, 0, buffer.length, type, minBytes)
      const isInside = at >= 4 && at + minBytes <= buffer.length && attributeEnd(buffer, at) <= buffer.length
      return at === -1 || isInside
    }),
  )
})

t.test('the number of messages and attributes is bounded', async (t) => {
  t.ok(isRefusal(parseMessages(Buffer.concat(Array.from({ length: 5000 }, () => header(16))))))
  t.ok(isRefusal(parseAttributes(Buffer.concat(Array.from({ length: 2000 }, () => Buffer.of(4, 0, 1, 0))))))
})

t.test('a request that cannot be sent is refused while it is built', async (t) => {
  const builder = new MessageBuilder().begin(1, 0, 1)
  t.throws(() => builder.attribute(1, Buffer.alloc(MAX_REQUEST_BYTES)), { code: 'NETLINK' })
  t.throws(() => builder.text(1, 'a\0b'), { code: 'NETLINK' })
  t.throws(() => builder.begin(2, 0, 2), MeshError)
  t.throws(() => new MessageBuilder().end(), MeshError)
})

t.test('every part may be the one for which the buffer grows', async (t) => {
  for (let filled = 0; filled < 1100; filled += 4) {
    const builder = new MessageBuilder().begin(1, 0, 1)
    for (let at = 0; at < filled; at += 4) builder.raw(Buffer.of(0, 0, 0, 0))
    const bytes = builder
      .raw(Buffer.of(1, 2, 3, 4))
      .u64be(5, 6)
      .text(7, 'x')
      .end().bytes
    if (bytes.subarray(16 + filled, 20 + filled).toString('hex') !== '01020304')
      t.fail(`after ${filled} bytes`)
    t.equal(bytes.length, 16 + filled + 4 + 12 + 8)
  }
})
