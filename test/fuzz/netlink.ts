// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  Attributes,
  MessageBuilder,
  parseAttributes,
  parseMessages,
} from '../../mesh/reactor/netlink/message.ts'

const bytes = fc.uint8Array({ maxLength: 512 }).map((array) => Buffer.from(array))

t.test('hostile bytes are refused or read within their bounds, never thrown on', async () => {
  fc.assert(
    fc.property(bytes, fc.nat(40), (input, offset) => {
      const messages = parseMessages(input)
      if (Array.isArray(messages)) {
        for (const message of messages) parseAttributes(message.payload, offset)
      }
      const attributes = parseAttributes(input, offset)
      if (!(attributes instanceof Attributes)) return true
      for (let type = 0; type < 20; type++) {
        attributes.u32(type)
        attributes.u64be(type)
        attributes.text(type)
        attributes.nested(type)
        if (attributes.all(type).some((value) => value.length > input.length)) return false
      }
      return true
    }),
    { numRuns: 2000 },
  )
})

t.test('what is written is read back, whatever the values are', async () => {
  const attribute = fc.record({ type: fc.nat(0x3fff), value: fc.uint8Array({ maxLength: 70 }) })
  fc.assert(
    fc.property(fc.array(fc.array(attribute, { maxLength: 20 }), { maxLength: 5 }), (messages) => {
      const builder = new MessageBuilder()
      messages.forEach((attributes, sequence) => {
        builder.begin(1, 0, sequence)
        for (const { type, value } of attributes) builder.attribute(type, value)
        builder.end()
      })
      const parsed = parseMessages(builder.bytes)
      if (!Array.isArray(parsed) || parsed.length !== messages.length) return false
      return messages.every((attributes, index) => {
        const read = parseAttributes(parsed[index]?.payload ?? Buffer.alloc(0))
        if (!(read instanceof Attributes)) return false
        return attributes.every(({ type, value }) => read.all(type).some((it) => it.equals(value)))
      })
    }),
    { numRuns: 300 },
  )
})
