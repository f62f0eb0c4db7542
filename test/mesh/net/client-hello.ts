// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  MAX_CLIENT_HELLO_BYTES,
  MAX_CLIENT_HELLO_RECORDS,
  readClientHello,
} from '../../../mesh/net/client-hello.ts'
import {
  extension,
  grease,
  hello,
  helloMessage,
  inRecords,
  nodeHello,
  serverName,
  withLength,
} from '../../support/client-hellos.ts'

const named = (name: string) => ({ kind: 'hello', name })

t.test('what Node’s client asks for, in every version it speaks', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const versions = { minVersion: version, maxVersion: version }
    t.same(readClientHello(await nodeHello({ ...versions, servername: 'A.Example' })), named('a.example'))
    t.same(readClientHello(await nodeHello(versions)), named(''))
  }
})

t.test('the name among other extensions, those without meaning too; in whatever records', async (t) => {
  t.same(readClientHello(hello(grease(), serverName('cart.shop'), grease())), named('cart.shop'))
  t.same(readClientHello(hello(grease())), named(''))
  t.same(
    readClientHello(inRecords(helloMessage({ rest: Buffer.alloc(0) }))),
    named(''),
    'no extensions at all',
  )
  const message = helloMessage({ extensions: [grease(), serverName('cart.shop')] })
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: message.length }), { maxLength: 60 }), (sizes) => {
      const read = readClientHello(inRecords(message, sizes))
      return read.kind === 'hello' && read.name === 'cart.shop'
    }),
  )
})

t.test('what is cut short is waited for, and no more than what is missing', async (t) => {
  const bytes = inRecords(helloMessage({ extensions: [serverName('a.example')] }), [3, 20])
  for (let length = 0; length < bytes.length; length++) {
    const read = readClientHello(bytes.subarray(0, length))
    if (read.kind !== 'more') t.fail(`${length}: ${JSON.stringify(read)}`)
    else t.ok(read.bytes > length && read.bytes <= bytes.length, `${length}: ${read.bytes}`)
  }
  t.same(readClientHello(bytes), named('a.example'))
})

t.test('other protocols are told apart by their first bytes', async (t) => {
  for (const text of [
    'G',
    'GET / HTTP/1.1\r\n',
    'SSH-2.0',
    '\x16\x02',
    '\x80\x2e\x01\x03\x01',
    '\x15\x03\x01',
  ])
    t.same(readClientHello(Buffer.from(text, 'latin1')), { kind: 'other' }, JSON.stringify(text))
  t.equal(readClientHello(Buffer.alloc(0)).kind, 'more')
})

const twice = [serverName('a.example'), serverName('b.example')]
const name = (text: string): Buffer => withLength(2, Buffer.from(text))
const host = (text: string): Buffer => Buffer.concat([Buffer.from([0]), name(text)])
const message = helloMessage({ extensions: [serverName('a.example')] })
/** Hellos that some server might read in another way, and what is said of them. */
const BAD: readonly (readonly [what: string, bytes: Buffer, detail: RegExp])[] = [
  ['two server names', hello(...twice), /twice/],
  ['two names in one', hello(extension(0, withLength(2, Buffer.concat([host('a'), host('b')])))), /name/],
  ['an empty name', hello(serverName('')), /name/],
  ['a name of another type', hello(serverName('a.example', 1)), /name/],
  ['a name with a dot at the end', hello(serverName('a.example.')), /name/],
  ['a name with an empty label', hello(serverName('a..example')), /name/],
  ['a name with a byte of zero', hello(serverName('a.example\0.b')), /name/],
  ['a name with a letter of another script', hello(serverName('ä.example')), /name/],
  ['a name of 254', hello(serverName('a.'.repeat(126).concat('ab'))), /name/],
  ['an empty list', hello(extension(0, name(''))), /name/],
  ['nothing in the extension', hello(extension(0, Buffer.alloc(0))), /name/],
  ['a list that is longer than its extension', hello(extension(0, Buffer.from([0, 9, 0, 0, 1, 97]))), /name/],
  [
    'bytes after the list',
    hello(extension(0, Buffer.concat([withLength(2, host('a')), Buffer.from([0])]))),
    /name/,
  ],
  [
    'an extension that is cut',
    inRecords(helloMessage({ rest: withLength(2, Buffer.from([0, 0, 0, 9, 1])) })),
    /cut/,
  ],
  ['bytes after the extensions', inRecords(helloMessage({ rest: Buffer.from([0, 0, 1]) })), /extensions/],
  [
    'extensions longer than the message',
    inRecords(helloMessage({ rest: Buffer.from([0, 9, 1]) })),
    /extensions/,
  ],
  ['a long session id', inRecords(helloMessage({ session: Buffer.alloc(33) })), /session/],
  ['half a cipher suite', inRecords(helloMessage({ suites: Buffer.alloc(3) })), /suites/],
  ['no cipher suites', inRecords(helloMessage({ suites: Buffer.alloc(0) })), /suites/],
  ['no compression method', inRecords(helloMessage({ compressions: Buffer.alloc(0) })), /compression/],
  ['a ServerHello', inRecords(helloMessage({ type: 2 })), /no ClientHello/],
  ['a message that is too short for its fields', inRecords(Buffer.from([1, 0, 0, 2, 3, 3])), /cut/],
  ['another message in its last record', inRecords(Buffer.concat([message, message])), /after/],
  ['an empty record', Buffer.from([22, 3, 1, 0, 0]), /0 bytes/],
  ['a record that is too long', Buffer.from([22, 3, 1, 0x40, 1]), /16385 bytes/],
  [
    'an alert in between',
    Buffer.concat([inRecords(message.subarray(0, 9)), Buffer.from([21, 3, 1, 0, 2])]),
    /another/,
  ],
  ['a message that is too long', inRecords(Buffer.from([1, 0xff, 0xff, 0xff])), /too long/],
  [
    'too many records',
    inRecords(
      message,
      Array.from({ length: 80 }, () => 1),
    ),
    /records/,
  ],
]

t.test('what some server might read otherwise is told apart', async (t) => {
  for (const [what, bytes, detail] of BAD) {
    const read = readClientHello(bytes)
    t.equal(read.kind, 'malformed', what)
    if (read.kind === 'malformed') t.match(read.detail, detail, what)
  }
})

t.test('at the limits, and beyond', async (t) => {
  const own = (bytes: number): Buffer => {
    const padding = extension(21, Buffer.alloc(bytes))
    return inRecords(helloMessage({ extensions: [padding, serverName('a.example')] }), [16_000, 16_000])
  }
  const fixed = own(0).length + 10 // it comes in three records
  t.same(readClientHello(own(MAX_CLIENT_HELLO_BYTES - fixed)), named('a.example'))
  t.match(readClientHello(own(MAX_CLIENT_HELLO_BYTES - fixed + 1)), { kind: 'malformed', detail: 'too long' })
  const ones = (count: number): Buffer =>
    inRecords(
      message,
      Array.from({ length: count - 1 }, () => 1),
    )
  t.same(readClientHello(ones(MAX_CLIENT_HELLO_RECORDS)), named('a.example'))
  t.equal(readClientHello(ones(MAX_CLIENT_HELLO_RECORDS + 1)).kind, 'malformed')
})

t.test('whatever comes is read, and what is read is a name or nothing', async () => {
  const good = hello(grease(), serverName('a.example'))
  const isSound = (bytes: Buffer): boolean => {
    const read = readClientHello(bytes)
    if (read.kind === 'more') return read.bytes > bytes.length && read.bytes <= MAX_CLIENT_HELLO_BYTES + 5
    return read.kind !== 'hello' || /^[a-z0-9_.-]*$/.test(read.name)
  }
  const changes = fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 6 })
  fc.assert(
    fc.property(changes, (changed) => {
      const bytes = Buffer.from(good)
      for (const [at, value] of changed) bytes[at] = value
      return isSound(bytes)
    }),
    { numRuns: 3_000 },
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) =>
      isSound(Buffer.concat([Buffer.from([22, 3, 1]), bytes])),
    ),
  )
})
