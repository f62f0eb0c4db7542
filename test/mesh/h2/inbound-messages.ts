// SPDX-License-Identifier: Apache-2.0
// Which messages are well formed, on both sides, and what becomes of the others: RFC 9113 §8.
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import type { HeaderList } from '../../../mesh/http/header-list.ts'
import { CONNECT, connectSessions, open, RawPeer, serverWithStream } from '../../support/h2-pair.ts'
import { get } from '../../support/http1-pair.ts'

const RST = 3

t.test('large header lists travel in several frames; too large ones are refused', async (t) => {
  const pair = connectSessions()
  const [, , lists] = open(pair.client, [...CONNECT, 'x-long', 'y'.repeat(40_000)])
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.requests[0]?.[5]?.length, 40_000)
  t.equal(lists.lists.length, 1)
  t.match(pair.client.openStream([...CONNECT, 'x-long', 'y'.repeat(70_000)]), {
    code: 'H2_HEADERS_TOO_LARGE',
  })
})

t.test('a list over the limit is answered 431 and the connection survives', async (t) => {
  const peer = new RawPeer('server', { local: { maxHeaderListBytes: 1_000 } })
  peer.headers(1, [...CONNECT, 'x-long', 'y'.repeat(1_500)], 0x4)
  peer.headers(3, CONNECT)
  const frames = peer.run()
  const answer = frames.find((frame) => frame.type === 1)
  const block = answer && peer.decoder.decode(answer.payload, 0, answer.payload.length)
  t.same(block !== undefined && !isRefusal(block) && block.fields, [':status', '431'])
  t.same(peer.says.events, ['settings', 'stream 3'])
})

/** Lists that no request may have: they reset their stream, and nothing else. */
const MALFORMED: readonly (readonly [name: string, list: HeaderList])[] = [
  ['CONNECT with a path', [...CONNECT, ':path', '/']],
  ['CONNECT with a scheme', [':method', 'CONNECT', ':scheme', 'https', ':authority', 'a:1']],
  ['CONNECT without an authority', [':method', 'CONNECT']],
  ['extended CONNECT', [':method', 'CONNECT', ':protocol', 'websocket', ':authority', 'a:1']],
  ['CONNECT to one host, Host of another', [...CONNECT, 'host', 'b:1']],
  ['no path', [':method', 'GET', ':scheme', 'https']],
  ['an empty path', [':method', 'GET', ':scheme', 'https', ':path', '']],
  ['a path without its slash', get('a')],
  ['a path with a fragment', get('/a#b')],
  ['a path with a blank', get('/a b')],
  ['a path that is a URL', get('http://a/b')],
  ['an asterisk without OPTIONS', get('*')],
  ['no scheme', [':method', 'GET', ':path', '/']],
  ['a scheme that is none', [':method', 'GET', ':scheme', 'ht/tp', ':path', '/']],
  ['no method', [':authority', 'a:1']],
  ['an empty method', [':method', '', ':scheme', 'http', ':path', '/']],
  ['a method with a blank', get('/', 'GET /')],
  ['an authority with a user', [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'u@a']],
  ['an empty authority', [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', '']],
  [
    'an authority with a port that is none',
    [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a:x'],
  ],
  ['a host that is not the authority', get('/', 'GET', 'host', 'other')],
  ['two hosts', get('/', 'GET', 'host', 'cart', 'host', 'cart')],
  ['a host that is none', [':method', 'GET', ':scheme', 'http', ':path', '/', 'host', 'a/b']],
  ['a length that is none', get('/', 'GET', 'content-length', '-1')],
  ['two lengths', get('/', 'GET', 'content-length', '1', 'content-length', '1')],
  ['a pseudo-header twice', [':method', 'CONNECT', ':method', 'CONNECT', ':authority', 'a:1']],
  ['a pseudo-header after a field', [':method', 'CONNECT', 'x', 'y', ':authority', 'a:1']],
  ['an unknown pseudo-header', get('/').concat(':x', 'y')],
  ['a response pseudo-header', [...CONNECT, ':status', '200']],
  ['an upper-case name', [...CONNECT, 'X-Up', 'y']],
  ['an empty name', [...CONNECT, '', 'y']],
  ['a name with a space', [...CONNECT, 'x y', 'z']],
  ['a line break in a value', [...CONNECT, 'x', 'y\r\nz: 1']],
  ['NUL in a value', [...CONNECT, 'x', 'y\0']],
  ['a control character in a value', [...CONNECT, 'x', 'y\x1b[2J']],
  ['a value that ends in a blank', [...CONNECT, 'x', 'y ']],
  ['connection', [...CONNECT, 'connection', 'close']],
  ['keep-alive', get('/', 'GET', 'keep-alive', '1')],
  ['upgrade', get('/', 'GET', 'upgrade', 'websocket')],
  ['transfer-encoding', [...CONNECT, 'transfer-encoding', 'chunked']],
  ['te other than trailers', [...CONNECT, 'te', 'gzip']],
]

t.test('a malformed request resets its stream, and nobody hears of it', async (t) => {
  for (const [name, list] of MALFORMED) {
    const peer = serverWithStream()
    peer.headers(3, list)
    const resets = peer.run().filter((frame) => frame.type === RST)
    t.same(
      resets.map((frame) => [frame.id, frame.payload.readUInt32BE()]),
      [[3, 1]],
      name,
    )
    peer.headers(5, CONNECT)
    peer.run()
    t.same(peer.says.events.slice(1), ['stream 1', 'stream 5'], `${name}: the connection goes on`)
  }
})

t.test('requests come in one form: the host in lower case, cookies as one field', async (t) => {
  const peer = serverWithStream()
  const plain = [':method', 'GET', ':scheme', 'http', ':path', '/']
  const cases: readonly (readonly [sent: HeaderList, told: HeaderList])[] = [
    [get('/', 'GET', 'te', 'trailers'), get('/', 'GET', 'te', 'trailers')],
    [
      [...plain, 'host', 'Cart'],
      [':authority', 'cart', ...plain],
    ],
    [
      [...plain, ':authority', 'Cart:80', 'x', 'y', 'host', 'cart:80'],
      [...plain, ':authority', 'cart:80', 'x', 'y'],
    ],
    [
      get('/', 'GET', 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2', 'cookie', 'c=3'),
      get('/', 'GET', 'cookie', 'a=1; b=2; c=3', 'x', 'y'),
    ],
    [plain, plain],
    [get('*', 'OPTIONS'), get('*', 'OPTIONS')],
    [
      [...CONNECT, 'cookie', 'a', 'cookie', 'b'],
      [...CONNECT, 'cookie', 'a', 'cookie', 'b'],
    ],
  ]
  for (const [index, [sent, told]] of cases.entries()) {
    peer.headers(3 + index * 2, sent, 5)
    peer.run()
    t.same(peer.says.requests.at(-1), told)
  }
})

t.test('a body has the length that was announced, or resets its stream', async (t) => {
  const post = (length: string) => get('/', 'POST', 'content-length', length)
  const cases: readonly (readonly [name: string, act: (peer: RawPeer) => void, isWhole: boolean])[] = [
    ['none of 3', (p) => p.headers(3, post('3'), 5), false],
    ['none of 0', (p) => p.headers(3, post('0'), 5), true],
    [
      '3 of 3, padded',
      (p) => {
        p.headers(3, post('3'))
        p.frame(0, 9, 3, '02 616263 0000')
      },
      true,
    ],
    [
      '2 of 3',
      (p) => {
        p.headers(3, post('3'))
        p.frame(0, 1, 3, '6162')
      },
      false,
    ],
    [
      '2 of 3, and trailers',
      (p) => {
        p.headers(3, post('3'))
        p.frame(0, 0, 3, '6162')
        p.headers(3, ['x', 'y'], 5)
      },
      false,
    ],
    [
      '4 of 3',
      (p) => {
        p.headers(3, post('3'))
        p.frame(0, 0, 3, '6162')
        p.frame(0, 0, 3, '6162')
      },
      false,
    ],
    [
      '3 of 3, and an empty frame',
      (p) => {
        p.headers(3, post('3'))
        p.frame(0, 0, 3, '616263')
        p.frame(0, 1, 3)
      },
      true,
    ],
    [
      'what CONNECT says of a length is nobody’s',
      (p) => {
        p.headers(3, [...CONNECT, 'content-length', '3'])
        p.frame(0, 1, 3, '6162')
      },
      true,
    ],
  ]
  for (const [name, act, isWhole] of cases) {
    const peer = serverWithStream()
    act(peer)
    const resets = peer.run().filter((frame) => frame.type === RST)
    t.same(
      resets.map((frame) => [frame.id, frame.payload.readUInt32BE()]),
      isWhole ? [] : [[3, 1]],
      name,
    )
    if (isWhole) t.ok(peer.says.records[1]?.events.includes('end'), name)
    else t.notOk(peer.says.records[1]?.events.includes('end'), name)
  }
})

t.test('the answer to a request ends it, whatever the client still sends', async (t) => {
  const peer = serverWithStream()
  peer.says.onAccept = (stream) => stream.sendHeaders([':status', '200'], true)
  peer.headers(3, get('/', 'POST'))
  const frames = peer.run()
  t.same(
    frames.map(({ type, flags, id }) => [type, flags, id]),
    [
      [1, 5, 3],
      [RST, 0, 3],
    ],
  )
  t.equal(frames[1]?.payload.readUInt32BE(), 0, 'NO_ERROR')
  t.same(peer.says.records[1]?.events, ['close'])
  t.equal(peer.says.records[1]?.reason?.code, 'OK')
  peer.frame(0, 1, 3, '6162')
  t.same(peer.run(), [], 'what was on its way is ignored')
})

t.test('trailers of a stream that is not read wait, are counted, and have a limit', async (t) => {
  const peer = serverWithStream()
  const stream = peer.says.streams[0]
  stream?.pause()
  peer.frame(0, 0, 1, '6162')
  peer.run()
  const beforeBytes = peer.resources.inboundUsedBytes
  peer.headers(1, ['x-long', 'y'.repeat(1_000)], 5)
  peer.run()
  t.equal(peer.resources.inboundUsedBytes - beforeBytes, 1_006)
  t.same(peer.says.records[0]?.events, [])
  stream?.resume()
  peer.run()
  t.same(peer.says.records[0]?.events, ['data', 'end'])
  t.equal(peer.resources.inboundUsedBytes, 0)
  const full = new RawPeer('server', { inboundLimitBytes: 5_000 })
  full.headers(1, CONNECT)
  full.run()
  full.says.streams[0]?.pause()
  full.frame(0, 0, 1, '6162')
  full.headers(1, ['x-long', 'y'.repeat(1_000)], 5)
  full.run()
  t.equal(full.says.records[0]?.reason?.code, 'LIMIT_NODE')
  t.equal(full.resources.inboundUsedBytes, 0)
})

t.test('interim answers reach the client, a bounded number of them', async (t) => {
  const peer = new RawPeer('client')
  const [, record, lists] = open(peer.session, get('/'))
  peer.run()
  for (let i = 0; i < 16; i++) peer.headers(1, [':status', '103', 'x', `${i}`])
  peer.run()
  t.equal(lists.lists.length, 16)
  t.same(lists.lists[15], [':status', '103', 'x', '15'])
  t.equal(record.reason, null)
  peer.headers(1, [':status', '103'])
  const reset = peer.run().find((frame) => frame.type === RST)
  t.equal(reset?.payload.readUInt32BE(), 1)
  t.match(record.reason, { code: 'H2_PROTOCOL', detail: 'too many interim answers' })
})

t.test('a body where an answer has none, or of another length, ends the exchange', async (t) => {
  const cases: readonly (readonly [method: string, answer: HeaderList, body: string, isWhole: boolean])[] = [
    ['HEAD', [':status', '200', 'content-length', '3'], '', true],
    ['HEAD', [':status', '200'], '61', false],
    ['GET', [':status', '304', 'content-length', '3'], '', true],
    ['GET', [':status', '304'], '61', false],
    ['GET', [':status', '204'], '61', false],
    ['GET', [':status', '200', 'content-length', '3'], '616263', true],
    ['GET', [':status', '200', 'content-length', '3'], '6162', false],
    ['GET', [':status', '200', 'content-length', '3'], '61626364', false],
    ['GET', [':status', '200', 'content-length', 'x'], '61', false],
    ['CONNECT', [':status', '200', 'content-length', '3'], '61', true],
    ['CONNECT', [':status', '404', 'content-length', '3'], '61', false],
  ]
  for (const [method, answer, body, isWhole] of cases) {
    const peer = new RawPeer('client')
    const [, record] = open(peer.session, method === 'CONNECT' ? CONNECT : get('/', method))
    peer.run()
    peer.headers(1, answer)
    peer.frame(0, 1, 1, body)
    const resets = peer.run().filter((frame) => frame.type === RST)
    t.equal(resets.length, isWhole ? 0 : 1, `${method} ${answer.join(' ')} ${body}`)
    t.equal(record.events.includes('end'), isWhole)
  }
  const short = new RawPeer('client')
  const [, record] = open(short.session, get('/'))
  short.run()
  short.headers(1, [':status', '200', 'content-length', '3'], 5)
  short.run()
  t.equal(record.reason?.code, 'H2_PROTOCOL')
})

t.test('a client refuses malformed responses and takes interim ones', async (t) => {
  const cases: Array<[name: string, act: (peer: RawPeer) => void, error: number | null]> = [
    ['no status', (p) => p.headers(1, ['x', 'y']), 1],
    ['a change of protocol', (p) => p.headers(1, [':status', '101']), 1],
    ['status of two digits', (p) => p.headers(1, [':status', '20']), 1],
    ['a request pseudo-header', (p) => p.headers(1, [':status', '200', ':path', '/']), 1],
    ['DATA before HEADERS', (p) => p.frame(0, 0, 1, 'aa'), 1],
    ['an interim response that ends', (p) => p.headers(1, [':status', '100'], 5), 1],
    ['too many bytes', (p) => p.headers(1, [':status', '200', 'x', 'y'.repeat(16_400)]), 11],
    [
      'interim, then final',
      (p) => {
        p.headers(1, [':status', '103'])
        p.headers(1, [':status', '200'])
      },
      null,
    ],
  ]
  for (const [name, act, error] of cases) {
    const peer = new RawPeer('client')
    const [, record, lists] = open(peer.session)
    peer.run()
    act(peer)
    const reset = peer.run().find((frame) => frame.type === RST)
    t.equal(reset?.payload.readUInt32BE() ?? null, error, name)
    if (error === null)
      t.same(lists.lists, [
        [':status', '103'],
        [':status', '200'],
      ])
    else t.notSame(record.reason, null, name)
  }
  const peer = new RawPeer('client')
  peer.headers(2, CONNECT)
  peer.run()
  t.equal(peer.says.reason?.code, 'H2_PROTOCOL', 'streams of a server')
  const push = new RawPeer('client')
  push.frame(4, 0, 0, '000200000001')
  push.run()
  t.equal(push.says.reason?.code, 'H2_PROTOCOL', 'ENABLE_PUSH of a server')
})
