// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../../mesh/errors/refusal.ts'
import { HpackDecoder } from '../../../../mesh/h2/hpack/decoder.ts'
import { HpackEncoder } from '../../../../mesh/h2/hpack/encoder.ts'

function encodeAll(encoder: HpackEncoder, lists: readonly string[][]): string[] {
  return lists.map((fields) => {
    const target = Buffer.alloc(HpackEncoder.maxEncodedBytes(fields))
    return target.toString('hex', 0, encoder.encode(fields, target, 0))
  })
}

const GET = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com']

t.test('requests are written as RFC 7541 C.3 and C.4 write them', async (t) => {
  const requests = [
    GET,
    [...GET, 'cache-control', 'no-cache'],
    [
      ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com'],
      ...['custom-key', 'custom-value'],
    ],
  ]
  t.same(encodeAll(new HpackEncoder(4096), requests), [
    '828684410f7777772e6578616d706c652e636f6d',
    '828684be58086e6f2d6361636865',
    '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
  ])
  t.same(encodeAll(new HpackEncoder(4096, true), requests), [
    '828684418cf1e3c2e5f23a6ba0ab90f4ff',
    '828684be5886a8eb10649cbf',
    '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
  ])
})

t.test(
  'the second CONNECT of a tunnel is short: repeated values are indexed, unique ones are not',
  async (t) => {
    const connect = (traceId: string) => [
      ...[':method', 'CONNECT', ':authority', '10.0.0.7:8080', 'baggage', 'k8s.cluster.name=Kubernetes'],
      ...['forwarded', 'for="10.0.0.1:1234"', 'traceparent', `00-${traceId.repeat(32)}-0000000000000001-00`],
    ]
    const encoder = new HpackEncoder(4096)
    const [first = '', second = '', third = ''] = encodeAll(encoder, [
      connect('1'),
      connect('2'),
      connect('3'),
    ])
    t.ok(second.length < first.length - 100, `${first.length / 2} then ${second.length / 2} bytes`)
    t.equal(third.length, second.length, 'unique values do not push others out')
  },
)

t.test('secrets are never indexed', async (t) => {
  const [block = '', again] = encodeAll(new HpackEncoder(4096), [
    ['authorization', 'x'],
    ['authorization', 'x'],
  ])
  t.equal(block, '1f080178')
  t.equal(again, block)
})

t.test('a smaller table of the peer is announced: the lowest, then the final size', async (t) => {
  const encoder = new HpackEncoder(4096)
  const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 65_536, fields: 100 })
  const check = (fields: string[], prefix: string) => {
    const hex = encodeAll(encoder, [fields])[0] ?? ''
    t.ok(hex.startsWith(prefix), hex)
    const bytes = Buffer.from(hex, 'hex')
    const block = decoder.decode(bytes, 0, bytes.length)
    t.same(isRefusal(block) ? block : block.fields, fields)
  }
  check(['a', 'b'], '40')
  encoder.setPeerTableBytes(0)
  encoder.setPeerTableBytes(100_000)
  check(['a', 'b'], '203fe11f40')
  check(['a', 'b'], 'be')
  encoder.setPeerTableBytes(4096)
  check(['a', 'b'], 'be')
})

t.test('a long life of changing fields stays in step with the decoder', async (t) => {
  const encoder = new HpackEncoder(4096, true)
  const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 65_536, fields: 100 })
  let broken = 0
  for (let i = 0; i < 2000; i++) {
    const fields = [':authority', `host-${i % 97}:80`, 'baggage', 'b'.repeat(i % 300), `x-${i % 41}`, `${i}`]
    const bytes = Buffer.alloc(HpackEncoder.maxEncodedBytes(fields))
    const block = decoder.decode(bytes, 0, encoder.encode(fields, bytes, 0))
    if (isRefusal(block) || block.fields.join('|') !== fields.join('|')) broken++
  }
  t.equal(broken, 0)
})
