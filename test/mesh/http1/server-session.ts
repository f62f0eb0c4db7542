// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { HTTP1_LIMITS } from '../../../mesh/http1/limits.ts'
import { memoryBlock } from '../../../mesh/reactor/memory-pair.ts'
import { send } from '../../support/h2-pair.ts'
import { answer, type Received, ServerUnderTest } from '../../support/http1-pair.ts'

const GET = 'GET /a HTTP/1.1\r\nHost: cart\r\n\r\n'
const OK_EMPTY = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
const empty = ({ stream }: Received) => stream.sendHeaders(answer('200'), true)

t.test('a request and its answer, then the next on the same connection', async (t) => {
  const server = new ServerUnderTest()
  server.send(GET)
  const { stream, headers, isEnd, record } = server.request(0)
  t.same(headers, [':method', 'GET', ':scheme', 'http', ':authority', 'cart', ':path', '/a'])
  t.equal(isEnd, true)
  t.same(record.events, ['end'])
  stream.sendHeaders(answer('200', 'content-length', '5', 'X-Own', 'a b'), false)
  send(stream, 'hello')
  stream.end()
  t.equal(record.reason, null, 'nothing is told inside a call of the owner’s')
  server.run()
  t.equal(server.take(), 'HTTP/1.1 200 OK\r\nX-Own: a b\r\ncontent-length: 5\r\n\r\nhello')
  t.same(record.reason, { code: 'OK', detail: '' })
  server.send(GET)
  empty(server.request(1))
  server.run()
  t.equal(server.take(), OK_EMPTY)
  t.equal(server.session.isIdle, true)
  t.equal(server.reason, null)
})

t.test(
  'a body of unknown length is sent in chunks, with trailers, small and large, wherever it lies',
  async (t) => {
    for (const headroom of [0, 16, 40]) {
      const server = new ServerUnderTest({ highWaterBytes: 1 << 24 })
      server.send(GET)
      const { stream } = server.request(0)
      stream.sendHeaders(answer('200'), false)
      const large = 'L'.repeat(100_000)
      send(stream, 'small', headroom)
      send(stream, large, headroom)
      stream.sendHeaders(['x-sum', '1'], true)
      server.run()
      t.equal(
        server.take(),
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nsmall\r\n186a0\r\n${large}\r\n0\r\nx-sum: 1\r\n\r\n`,
      )
    }
  },
)

t.test('the block of a large part is left as it was', async (t) => {
  const server = new ServerUnderTest({ highWaterBytes: 1 << 24 })
  server.send(GET)
  const { stream } = server.request(0)
  stream.sendHeaders(answer('200'), false)
  const block = memoryBlock(30_200)
  const text = '0123456789'.repeat(3_000)
  block.bytes.write(text, 100, 'latin1')
  for (const at of [0, 10_000, 20_000]) stream.write(block, 100 + at, 100 + at + 10_000)
  stream.end()
  server.run()
  t.equal(block.bytes.toString('latin1', 100, 30_100), text)
  const part = `2710\r\n${'0123456789'.repeat(1_000)}\r\n`
  t.equal(server.take(), `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${part.repeat(3)}0\r\n\r\n`)
})

t.test('a request body arrives as it comes, with its trailers', async (t) => {
  for (const chunkBytes of [1, 7, 1_000]) {
    const server = new ServerUnderTest({ chunkBytes })
    server.send(
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n',
    )
    const { record, trailers, stream } = server.request(0)
    t.equal(record.text(), 'abc0123456789')
    t.same(trailers.lists, [['x-t', '1']])
    t.same(record.events, ['data', 'end'])
    stream.sendHeaders(answer('204'), true)
    server.run()
    t.equal(server.take(), 'HTTP/1.1 204 No Content\r\n\r\n')
    t.equal(server.session.isIdle, true)
  }
})

t.test('pipelined requests are answered one after another, a burst over several turns', async (t) => {
  const server = new ServerUnderTest()
  server.send(GET + GET.replace('/a', '/b'))
  t.equal(server.requests.length, 1, 'the second waits for the first answer')
  t.ok(server.session.bufferedInboundBytes > 0)
  empty(server.request(0))
  server.run()
  t.equal(server.requests.length, 2)
  server.onRequest = empty
  empty(server.request(1))
  server.run()
  t.equal(server.take(), OK_EMPTY + OK_EMPTY)
  server.send(GET.repeat(3_000))
  const inOneTurn = server.requests.length - 2
  t.ok(inOneTurn <= HTTP1_LIMITS.exchangesPerTurn.value + 1, `${inOneTurn}`)
  server.scheduler.advance(1_000)
  t.equal(server.requests.length, 3_002)
  t.equal(server.take(), OK_EMPTY.repeat(3_000))
  t.equal(server.session.bufferedInboundBytes, 0)
  t.equal(server.resources.inboundUsedBytes, 0)
})

t.test('a body that nobody reads is not taken from the client', async (t) => {
  const server = new ServerUnderTest({ highWaterBytes: 10_000, chunkBytes: 5_000 })
  server.onRequest = ({ stream }) => stream.pause()
  server.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  for (let i = 0; i < 20; i++) server.send(`3e8\r\n${'x'.repeat(1_000)}\r\n`)
  const { record, stream } = server.request(0)
  t.equal(record.bytes, 0)
  t.ok(server.session.bufferedInboundBytes <= 5_000, `${server.session.bufferedInboundBytes}`)
  stream.resume()
  t.equal(record.bytes, 0, 'nothing inside the call')
  server.run()
  t.equal(record.bytes, 20_000)
  record.onBytes = () => stream.pause()
  server.send(`1\r\na\r\n1\r\nb\r\n0\r\n\r\n`)
  t.equal(record.bytes, 20_001, 'paused from within the callback')
  record.onBytes = null
  stream.resume()
  server.run()
  t.equal(record.bytes, 20_002)
  t.equal(record.events.at(-1), 'end')
})

t.test('a slow client holds the writer back', async (t) => {
  const server = new ServerUnderTest({ highWaterBytes: 10_000 })
  server.send(GET)
  const { stream, record } = server.request(0)
  stream.sendHeaders(answer('200'), false)
  server.far.pause()
  t.equal(send(stream, 'y'.repeat(20_000)), false)
  server.run()
  t.notOk(record.events.includes('drain'))
  server.far.resume()
  server.run()
  t.ok(record.events.includes('drain'))
  t.equal(stream.bufferedBytes, 0)
})

t.test('interim answers pass, but not to HTTP/1.0', async (t) => {
  for (const [version, expected] of [
    [
      '1.1',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
    ],
    ['1.0', 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'],
  ] as const) {
    const server = new ServerUnderTest()
    server.send(`PUT / HTTP/${version}\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`)
    const { stream, record } = server.request(0)
    stream.sendHeaders(answer('100'), false)
    stream.sendHeaders(answer('103', 'link', '<a>'), false)
    server.send('hi')
    t.equal(record.text(), 'hi')
    stream.sendHeaders(answer('200'), true)
    server.run()
    t.equal(server.take(), expected)
  }
})

t.test('who expects 100 and gets an answer is not asked for more', async (t) => {
  const server = new ServerUnderTest()
  server.send('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n')
  server.request(0).stream.sendHeaders(answer('401'), true)
  server.run()
  t.equal(server.take(), 'HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
  server.send(GET)
  t.equal(server.requests.length, 1, 'what follows could be the body: it is not read as a request')
})

t.test('HTTP/1.0: until the end of the connection, or kept alive where it says so', async (t) => {
  const server = new ServerUnderTest()
  server.send('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
  empty(server.request(0))
  server.run()
  t.equal(server.take(), 'HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n')
  server.send('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
  const { stream } = server.request(1)
  stream.sendHeaders(answer('200'), false)
  send(stream, 'all of it')
  stream.end()
  server.run()
  t.equal(server.take(), 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it')
  t.ok(server.record.events.includes('end'))
  server.end()
  t.same(server.reason, { code: 'OK', detail: '' })
  t.equal(server.scheduler.timerCount, 0)
})

t.test('HEAD and 304 have the length of a body and none', async (t) => {
  const server = new ServerUnderTest()
  server.send('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n')
  const { stream } = server.request(0)
  stream.sendHeaders(answer('200', 'content-length', '500'), false)
  send(stream, 'nobody’s')
  stream.end()
  server.run()
  t.equal(server.take(), 'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n')
  server.send(GET)
  server.request(1).stream.sendHeaders(answer('304', 'content-length', '500'), true)
  server.run()
  t.equal(server.take(), 'HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n')
  t.equal(server.session.isIdle, true)
})

t.test('101 makes the stream carry bytes both ways; each half ends alone', async (t) => {
  for (const isAtOnce of [true, false]) {
    const server = new ServerUnderTest()
    const grant = ({ stream }: Received) => stream.sendHeaders(answer('101', 'upgrade', 'websocket'), false)
    if (isAtOnce) server.onRequest = grant
    server.send(
      'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly',
    )
    const request = server.request(0)
    const { stream, headers, isEnd, record } = request
    t.equal(isEnd, false)
    t.same(headers.slice(8), ['upgrade', 'websocket'])
    if (!isAtOnce) {
      t.same(record.events, [])
      grant(request)
      server.run()
    }
    t.equal(
      server.take(),
      'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    )
    t.equal(record.text(), 'early')
    server.send('\x81\x00GET / HTTP/1.1\r\n\r\n')
    t.equal(record.text(), 'early\x81\x00GET / HTTP/1.1\r\n\r\n')
    send(stream, '\x82\x00')
    server.run()
    t.equal(server.take(), '\x82\x00')
    server.end()
    t.same(record.events.slice(-2), ['data', 'end'])
    send(stream, 'last')
    stream.end()
    server.run()
    t.equal(server.take(), 'last')
    t.same(record.reason, { code: 'OK', detail: '' })
    t.same(server.reason, { code: 'OK', detail: '' })
    t.equal(server.scheduler.timerCount, 0)
  }
})

t.test(
  'an upgrade that is not granted ends with its answer; to HTTP/2 in clear text nobody can ask',
  async (t) => {
    const server = new ServerUnderTest()
    server.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    empty(server.request(0))
    server.run()
    t.same(server.request(0).record.events, ['end', 'close'])
    t.equal(server.take(), 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    const other = new ServerUnderTest()
    other.send(
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n',
    )
    t.same(other.request(0).headers.slice(8), [])
    t.equal(other.request(0).isEnd, true)
    other.request(0).stream.sendHeaders(answer('101', 'upgrade', 'h2c'), false)
    other.run()
    t.match(other.take(), /^HTTP\/1.1 502 .*x-sidestep-reason: UPSTREAM_PROTOCOL/s)
  },
)

t.test('what the client breaks is answered once, with the code, and the connection ends', async (t) => {
  const cases: readonly (readonly [string, string, number])[] = [
    ['BAD\r\n\r\n', 'HTTP1_MALFORMED', 400],
    ['GET / HTTP/1.1\r\n\r\n', 'HTTP1_HOST', 400],
    ['GET / HTTP/3.0\r\nHost: a\r\n\r\n', 'HTTP_VERSION', 505],
    [
      'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'HTTP1_AMBIGUOUS',
      400,
    ],
    ['GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', 'HTTP_TRANSFER_CODING', 501],
    [`GET / HTTP/1.1\r\nHost: a\r\nx: ${'y'.repeat(70_000)}\r\n\r\n`, 'HTTP_HEADERS_TOO_LARGE', 431],
    ['\x16\x03\x01\x02\x00\x01\x00\x01', 'HTTP1_MALFORMED', 400],
  ]
  for (const [text, code, status] of cases) {
    const server = new ServerUnderTest()
    server.send(text + GET)
    t.same(
      server.refused.map((refusal) => refusal.code),
      [code],
    )
    t.equal(server.requests.length, 0)
    const sent = server.take()
    t.ok(sent.startsWith(`HTTP/1.1 ${status} `), sent)
    t.ok(
      sent.includes(`\r\nx-sidestep-reason: ${code}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`),
      sent,
    )
    server.end()
    t.equal(server.reason?.code, 'OK')
    t.equal(server.scheduler.timerCount, 0)
  }
})

t.test('a body that breaks: answered before the head of the answer, cut after it', async (t) => {
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n'
  const early = new ServerUnderTest()
  early.send(`${head}zz`)
  t.equal(early.request(0).record.reason?.code, 'HTTP1_MALFORMED')
  t.match(
    early.take(),
    /^HTTP\/1\.1 400 Bad Request\r\nx-sidestep-reason: HTTP1_MALFORMED\r\nconnection: close/,
  )
  const late = new ServerUnderTest()
  late.send(head)
  late.request(0).stream.sendHeaders(answer('200'), false)
  late.run()
  late.take()
  late.send('zz')
  t.equal(late.take(), '')
  t.equal(late.request(0).record.reason?.code, 'HTTP1_MALFORMED')
  t.equal(late.reason?.code, 'HTTP1_MALFORMED')
  const answered = new ServerUnderTest()
  answered.send(head)
  empty(answered.request(0))
  answered.run()
  t.equal(answered.take(), OK_EMPTY)
  answered.send('zz')
  t.equal(answered.take(), '', 'no second answer')
  answered.end()
  t.equal(answered.reason?.code, 'OK')
})

t.test('an owner who gives up is answered for, or the connection is cut', async (t) => {
  const before = new ServerUnderTest()
  before.send(GET)
  before.request(0).stream.destroy({ code: 'NO_ENDPOINT', detail: 'none' })
  before.run()
  t.same(before.request(0).record.reason, { code: 'NO_ENDPOINT', detail: 'none' })
  t.equal(
    before.take(),
    'HTTP/1.1 503 Service Unavailable\r\nx-sidestep-reason: NO_ENDPOINT\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
  )
  const after = new ServerUnderTest()
  after.send(GET)
  after.request(0).stream.sendHeaders(answer('200', 'content-length', '9'), false)
  send(after.request(0).stream, 'half')
  after.run()
  after.request(0).stream.destroy({ code: 'PEER_RESET', detail: 'upstream' })
  after.run()
  t.equal(after.reason?.code, 'PEER_RESET')
  t.equal(after.record.reason?.code, 'PEER_RESET')
})

t.test('a body of another length than announced never passes for whole', async (t) => {
  for (const [body, isEnded] of [
    ['123456', false],
    ['1234', true],
  ] as const) {
    const server = new ServerUnderTest()
    server.send(GET)
    const { stream, record } = server.request(0)
    stream.sendHeaders(answer('200', 'content-length', '5'), false)
    send(stream, body)
    if (isEnded) stream.end()
    server.run()
    t.equal(record.reason?.code, 'HTTP_BODY_LENGTH')
    t.equal(server.reason?.code, 'HTTP_BODY_LENGTH')
  }
})

t.test('a field that would end its line is never written', async (t) => {
  for (const value of ['a\r\nSet-Cookie: b', 'a\nb', 'a\0b', 'a\u010ab']) {
    const server = new ServerUnderTest()
    server.send(GET)
    server.request(0).stream.sendHeaders(answer('200', 'x', value), true)
    server.run()
    t.match(server.take(), /^HTTP\/1\.1 500 Internal Server Error\r\nx-sidestep-reason: INTERNAL\r\n/)
    t.equal(server.request(0).record.reason?.code, 'INTERNAL')
  }
})
