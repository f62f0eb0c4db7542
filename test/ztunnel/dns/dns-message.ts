// SPDX-License-Identifier: Apache-2.0
// Against dns-packet, which is somebody else's.
import dnsPacket, { type OptAnswer, type Packet } from 'dns-packet'
import fc from 'fast-check'
import t from 'tap'
import {
  type DnsQuery,
  type DnsRecord,
  MAX_FAILURE_BYTES,
  parseQuery,
  questionType,
  TYPE_A,
  TYPE_AAAA,
  writeFailure,
  writeReply,
} from '../../../ztunnel/dns/dns-message.ts'

const EDNS: OptAnswer = {
  ...{ type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0, options: [] },
  ...{ extendedRcode: 0, ednsVersion: 0, flag_do: false },
}

const packetOf = (overrides: Packet = {}): Buffer =>
  dnsPacket.encode({
    type: 'query',
    id: 0x1234,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: 'A', name: 'Cart.SHOP.svc.cluster.local', class: 'IN' }],
    ...overrides,
  })

const parse = (bytes: Uint8Array): DnsQuery | null => parseQuery(bytes, 0, bytes.length)

t.test('a plain question is read, whatever stands around it and however it is spelt', async (t) => {
  const bytes = packetOf()
  const expected = { id: 0x1234, isRecursionDesired: true, name: 'cart.shop.svc.cluster.local', type: TYPE_A }
  t.match(parse(bytes), { ...expected, payloadBytes: 0 })
  t.match(parse(packetOf({ additionals: [EDNS] })), { ...expected, payloadBytes: 4096 })
  const small = { ...EDNS, udpPayloadSize: 100 }
  t.match(parse(packetOf({ additionals: [small] })), { payloadBytes: 512 })
  const framed = Buffer.concat([Buffer.from('xy'), bytes, Buffer.from('z')])
  t.match(parseQuery(framed, 2, 2 + bytes.length), expected)
})

t.test('whatever is not one plain question goes to the resolver', async (t) => {
  const question = { type: 'A', name: 'a', class: 'IN' } as const
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['nothing', Buffer.alloc(0)],
    ['half a header', Buffer.alloc(11)],
    ['an answer', packetOf({ type: 'response' })],
    ['an update', packetOf({ flags: 5 << 11 })],
    ['no question', packetOf({ questions: [] })],
    ['two questions', packetOf({ questions: [question, question] })],
    ['another class', packetOf({ questions: [{ ...question, class: 'CH' }] })],
    ['the root', packetOf({ questions: [{ ...question, name: '.' }] })],
    ['an answer beside the question', packetOf({ answers: [{ type: 'A', name: 'a', data: '1.2.3.4' }] })],
    ['something else beside EDNS', packetOf({ additionals: [{ type: 'A', name: 'a', data: '1.2.3.4' }] })],
    ['DNSSEC', packetOf({ additionals: [{ ...EDNS, flags: dnsPacket.DNSSEC_OK }] })],
    ['bytes behind the end', Buffer.concat([packetOf(), Buffer.from([0])])],
    ['a name that is no host’s', packetOf({ questions: [{ ...question, name: 'a b.c' }] })],
    ['a name beyond ASCII', packetOf({ questions: [{ ...question, name: 'bücher.example' }] })],
  ]
  for (const [what, bytes] of cases) t.equal(parse(bytes), null, what)
  const pointer = Buffer.concat([packetOf().subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])])
  t.equal(parse(pointer), null, 'a pointer to itself')
})

t.test('no bytes make it fail, read beyond their end, or loop', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const query = parse(bytes)
      return query === null || (query.questionEnd <= bytes.length && query.name.length < 256)
    }),
    { numRuns: 5_000 },
  )
  const valid = packetOf({ additionals: [EDNS] })
  fc.assert(
    fc.property(fc.nat({ max: valid.length - 1 }), fc.nat({ max: 255 }), (at, value) => {
      const bytes = Uint8Array.from(valid)
      bytes[at] = value
      const query = parse(bytes)
      return query === null || query.questionEnd <= bytes.length
    }),
    { numRuns: 5_000 },
  )
  for (let length = 0; length < valid.length; length++) t.equal(parse(valid.subarray(0, length)), null)
})

const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/)
const hostname = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join('.'))
const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 })

t.test('what is answered is what another reader reads', async (t) => {
  const records = fc.oneof(
    fc.array(
      ipv4.map((bytes): DnsRecord => ({ kind: 'A', name: null, bytes })),
      { maxLength: 20 },
    ),
    fc.array(
      ipv6.map((bytes): DnsRecord => ({ kind: 'AAAA', name: null, bytes })),
      { maxLength: 20 },
    ),
    fc.tuple(hostname, ipv4).map(([target, bytes]): DnsRecord[] => [
      { kind: 'CNAME', name: null, target },
      { kind: 'A', name: target, bytes },
    ]),
    fc
      .tuple(hostname, fc.nat({ max: 65_535 }), fc.array(ipv4, { maxLength: 90 }))
      .map(([target, port, all]): DnsRecord[] => [
        { kind: 'SRV', name: null, target, port },
        ...all.map((bytes): DnsRecord => ({ kind: 'A', name: target, bytes, isAdditional: true })),
      ]),
  )
  const isAdditional = (record: DnsRecord): boolean => record.kind === 'A' && record.isAdditional === true
  fc.assert(
    fc.property(hostname, records, fc.boolean(), fc.boolean(), (name, all, hasEdns, isUdp) => {
      const request = packetOf({
        questions: [{ type: 'A', name, class: 'IN' }],
        additionals: hasEdns ? [EDNS] : [],
      })
      const query = parse(request)
      if (query === null) throw new Error('not read')
      const out = new Uint8Array(66_000)
      const reply = { query, request, start: 0, records: all, isUdp, ttlSeconds: 30 }
      const end = writeReply(reply, out, 7)
      const read = dnsPacket.decode(Buffer.from(out.subarray(7, end)))
      t.equal(read.id, 0x1234)
      t.same(read.questions?.[0]?.name, name)
      t.equal((read as { rcode?: string }).rcode, 'NOERROR') // as: the types forget it
      t.ok(read.flag_aa && read.flag_qr && read.flag_rd && read.flag_ra)
      const additionals = (read.additionals ?? []).filter(({ type }) => type !== 'OPT')
      t.equal(read.additionals?.length, additionals.length + (hasEdns ? 1 : 0))
      const wanted = all.filter((record) => !isAdditional(record))
      const answers = read.answers ?? []
      t.equal(read.flag_tc, answers.length < wanted.length)
      if (!isUdp) t.equal(answers.length + additionals.length, all.length)
      if (isUdp) t.ok(end - 7 <= (hasEdns ? 1_232 : 512))
      for (const [index, answer] of [...answers, ...additionals].entries()) {
        const record = all[index]
        if (record === undefined) throw new Error('more than was said')
        t.equal(answer.type, record.kind)
        t.equal(answer.name, record.name ?? name)
        if (record.kind === 'CNAME') t.equal((answer as { data: unknown }).data, record.target)
        else if (record.kind === 'SRV')
          t.match(answer, { data: { priority: 0, weight: 100, port: record.port, target: record.target } })
        else if (record.kind === 'A') t.equal((answer as { data: unknown }).data, [...record.bytes].join('.'))
      }
    }),
    { numRuns: 300 },
  )
})

t.test('the question comes back in the letters in which it was asked', async (t) => {
  const request = packetOf({ questions: [{ type: 'AAAA', name: 'cArT.ShOp', class: 'IN' }] })
  const query = parse(request)
  if (query === null) throw new Error('not read')
  t.equal(query.type, TYPE_AAAA)
  const out = new Uint8Array(66_000)
  const end = writeReply({ query, request, start: 0, records: [], isUdp: true, ttlSeconds: 30 }, out, 0)
  t.equal(dnsPacket.decode(Buffer.from(out.subarray(0, end))).questions?.[0]?.name, 'cArT.ShOp')
})

t.test('a failure repeats the question, and is SERVFAIL to every reader', async (t) => {
  fc.assert(
    fc.property(hostname, fc.constantFrom('A', 'SRV', 'TXT', 'SOA'), fc.boolean(), (name, type, hasEdns) => {
      const request = packetOf({
        questions: [{ type, name, class: 'IN' }],
        additionals: hasEdns ? [EDNS] : [],
      })
      const head = request.subarray(0, MAX_FAILURE_BYTES)
      const out = Buffer.alloc(600)
      const read = dnsPacket.decode(out.subarray(5, writeFailure(head, 0, head.length, out, 5)))
      t.equal(read.id, 0x1234)
      t.equal((read as { rcode?: string }).rcode, 'SERVFAIL') // as: the types forget it
      t.ok(read.flag_qr && read.flag_rd)
      t.equal(read.questions?.[0]?.name, name)
      t.equal(read.questions?.[0]?.type, type)
      t.equal(read.additionals?.length, 0)
    }),
  )
})

t.test('whatever arrives, a failure is short, is for its sender, and never answers an answer', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat({ max: 20 }), (bytes, start) => {
      const out = Buffer.alloc(600)
      const from = Math.min(start, bytes.length)
      const end = writeFailure(bytes, from, bytes.length, out, 5)
      const isAnswerable = bytes.length - from >= 12 && ((bytes[from + 2] ?? 0) & 0x80) === 0
      t.equal(end > 5, isAnswerable)
      t.ok(end - 5 <= MAX_FAILURE_BYTES)
      if (isAnswerable) t.same(out.subarray(5, 7), Buffer.from(bytes.subarray(from, from + 2)))
      t.ok(questionType(bytes, from, bytes.length) <= 65_535)
    }),
    { numRuns: 500 },
  )
})
