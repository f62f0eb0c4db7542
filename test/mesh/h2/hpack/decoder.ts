// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../../mesh/errors/refusal.ts'
import { HpackDecoder } from '../../../../mesh/h2/hpack/decoder.ts'

const LIMITS = { tableBytes: 4096, listBytes: 16_384, fields: 100 }

/** Decodes blocks in turn on one decoder; a refusal ends the list. */
function decodeAll(decoder: HpackDecoder, blocks: readonly string[]): string[][] {
  return blocks.map((hex) => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const block = decoder.decode(bytes, 0, bytes.length)
    return isRefusal(block) ? [block.code, block.detail] : [...block.fields]
  })
}

const GET = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com']
const REQUESTS = [
  GET,
  [...GET, 'cache-control', 'no-cache'],
  [
    ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com'],
    ...['custom-key', 'custom-value'],
  ],
]
const DATES = ['Mon, 21 Oct 2013 20:13:21 GMT', 'Mon, 21 Oct 2013 20:13:22 GMT']
const response = (status: string, date = DATES[0] ?? '') => [
  ...[':status', status, 'cache-control', 'private', 'date', date, 'location', 'https://www.example.com'],
]
const RESPONSES = [
  response('302'),
  response('307'),
  [
    ...response('200', DATES[1]),
    ...['content-encoding', 'gzip'],
    ...['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
]

t.test('the vectors of RFC 7541 Appendix C decode', async (t) => {
  const fresh = (tableBytes = 4096) => new HpackDecoder({ ...LIMITS, tableBytes })
  t.same(
    decodeAll(fresh(), ['400a637573746f6d2d6b65790d637573746f6d2d686561646572']),
    [['custom-key', 'custom-header']],
    'C.2.1',
  )
  t.same(decodeAll(fresh(), ['040c2f73616d706c652f70617468']), [[':path', '/sample/path']], 'C.2.2')
  t.same(decodeAll(fresh(), ['100870617373776f726406736563726574']), [['password', 'secret']], 'C.2.3')
  t.same(decodeAll(fresh(), ['82']), [[':method', 'GET']], 'C.2.4')
  t.same(
    decodeAll(fresh(), [
      '828684410f7777772e6578616d706c652e636f6d',
      '828684be58086e6f2d6361636865',
      '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
    ]),
    REQUESTS,
    'C.3',
  )
  t.same(
    decodeAll(fresh(), [
      '828684418cf1e3c2e5f23a6ba0ab90f4ff',
      '828684be5886a8eb10649cbf',
      '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
    ]),
    REQUESTS,
    'C.4',
  )
  t.same(
    decodeAll(fresh(256), [
      '4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54' +
        '6e1768747470733a2f2f7777772e6578616d706c652e636f6d',
      '4803333037c1c0bf',
      '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738' +
        '666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31',
    ]),
    RESPONSES,
    'C.5: entries are evicted',
  )
  t.same(
    decodeAll(fresh(256), [
      '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
      '4883640effc1c0bf',
      '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
    ]),
    RESPONSES,
    'C.6',
  )
})

t.test('broken blocks are refused', async (t) => {
  const broken: Record<string, string> = {
    'index 0': '80',
    'index behind the static table of an empty dynamic table': 'be',
    'name index out of range': '7f00',
    'integer cut short': 'ff',
    'integer without end': 'ff80808080808080808001',
    'integer of zeros without end': 'ff8080808000',
    'integer above the bound': 'ffffffffff7f',
    'no value': '41',
    'name longer than the block': '40',
    'string longer than the block': '410f7777',
    'string length of 2^28': '417f80808080010000',
    'damaged Huffman code': '4184ffffffff',
    'size update above the announced size': '3fe21f',
    'size update after a field': '8220',
    'three size updates': '202020',
  }
  for (const [name, hex] of Object.entries(broken)) {
    t.match(decodeAll(new HpackDecoder(LIMITS), [hex]), [['H2_COMPRESSION']], name)
  }
})

t.test('a size update empties the table', async (t) => {
  const decoder = new HpackDecoder(LIMITS)
  t.same(decodeAll(decoder, ['4001610162', 'be']), [
    ['a', 'b'],
    ['a', 'b'],
  ])
  const [resized, indexed] = decodeAll(decoder, ['203fe11f', 'be'])
  t.same(resized, [])
  t.match(indexed, ['H2_COMPRESSION'])
})

t.test('an entry larger than the table empties it and is no error', async (t) => {
  const decoder = new HpackDecoder({ ...LIMITS, tableBytes: 40 })
  t.same(decodeAll(decoder, ['4001610162', `4001610a${'62'.repeat(10)}`]), [
    ['a', 'b'],
    ['a', 'b'.repeat(10)],
  ])
  t.match(decodeAll(decoder, ['be']), [['H2_COMPRESSION']])
})

t.test('a list over the limits is cut, and the table stays in step', async (t) => {
  const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 100, fields: 2 })
  const first = Buffer.from('40016101' + '62' + '828282' + '4001630164', 'hex')
  const block = decoder.decode(first, 0, first.length)
  t.match(block, { isTooLarge: true, fields: ['a', 'b', ':method', 'GET'] })
  t.same(decodeAll(decoder, ['be']), [['c', 'd']], 'fields behind the limit were added')
})

t.test('a block that repeats one large entry costs no memory', async (t) => {
  const decoder = new HpackDecoder({ ...LIMITS, fields: 1000 })
  const value = '61'.repeat(3000)
  const block = Buffer.from(`400162${'7f'}b916${value}${'be'.repeat(10_000)}`, 'hex')
  const decoded = decoder.decode(block, 0, block.length)
  t.match(decoded, { isTooLarge: true })
  t.ok(!isRefusal(decoded) && decoded.fields.length <= 12)
})
