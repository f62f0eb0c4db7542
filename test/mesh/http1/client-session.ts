// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { HTTP1_LIMITS } from '../../../mesh/http1/limits.ts'
import { send } from '../../support/h2-pair.ts'
import { ClientUnderTest, get } from '../../support/http1-pair.ts'

const OK_EMPTY = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

t.test('a request and its answer, then another on the same connection', async (t) => {
  for (const chunkBytes of [1, 1_000]) {
    const client = new ClientUnderTest({ chunkBytes })
    const { stream, record, trailers } = client.open(get('/a', 'GET', 'accept', '*/*', 'te', 'trailers'))
    client.run()
    t.equal(
      client.take(),
      'GET /a HTTP/1.1\r\nhost: cart\r\naccept: */*\r\nte: trailers\r\nconnection: te\r\n\r\n',
    )
    t.ok(isRefusal(client.session.openStream(get('/b'))), 'one at a time')
    client.send('HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello')
    t.same(trailers.lists, [[':status', '200', 'x', 'y', 'content-length', '5']])
    t.same(trailers.ends, [false])
    t.equal(record.text(), 'hello')
    t.same(record.events, ['data', 'end', 'close'])
    t.equal(stream.closeReason?.code, 'OK')
    t.equal(client.idleCount, 1)
    const second = client.open(get('/b', 'POST'))
    client.run()
    t.equal(client.take(), 'POST /b HTTP/1.1\r\nhost: cart\r\ncontent-length: 0\r\n\r\n')
    client.send('HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n')
    t.equal(second.record.text(), 'hi')
    t.same(second.trailers.lists[1], ['x-t', '1'])
    t.equal(client.session.isIdle, true)
    t.equal(client.scheduler.timerCount, 0)
  }
})

t.test('bodies of requests: of a known length, in chunks, with trailers', async (t) => {
  const client = new ClientUnderTest()
  const known = client.open(get('/', 'PUT', 'content-length', '3'), false)
  send(known.stream, 'abc')
  known.stream.end()
  client.run()
  t.equal(client.take(), 'PUT / HTTP/1.1\r\nhost: cart\r\ncontent-length: 3\r\n\r\nabc')
  client.send(OK_EMPTY)
  const unknown = client.open(get('/', 'PUT'), false)
  send(unknown.stream, 'abc')
  unknown.stream.sendHeaders(['x-t', '1'], true)
  client.run()
  t.equal(
    client.take(),
    'PUT / HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n',
  )
  client.send(OK_EMPTY)
  t.equal(client.idleCount, 2)
})

t.test('interim answers are told, as many as the limit says', async (t) => {
  const client = new ClientUnderTest()
  const { trailers, record } = client.open()
  const interim = 'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n'
  client.send(interim.repeat(HTTP1_LIMITS.interim.value))
  t.equal(trailers.lists.length, HTTP1_LIMITS.interim.value)
  t.same(trailers.lists[0], [':status', '103', 'link', 'x'])
  client.send(interim)
  t.equal(record.reason?.code, 'UPSTREAM_PROTOCOL')
})

t.test('an answer to HEAD has no body', async (t) => {
  const client = new ClientUnderTest()
  const { record, trailers } = client.open(get('/', 'HEAD'))
  client.send('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n')
  t.same(record.events, ['end', 'close'])
  t.same(trailers.ends, [true])
  t.equal(client.session.isIdle, true)
})

t.test('a body until the end of the connection, which is not used again', async (t) => {
  const client = new ClientUnderTest()
  const { record } = client.open()
  client.send('HTTP/1.1 200 OK\r\n\r\nsome')
  client.push('thing')
  client.end()
  t.equal(record.text(), 'something')
  t.equal(record.reason?.code, 'OK')
  t.equal(client.reason?.code, 'OK')
  t.equal(client.idleCount, 0)
})

t.test('an answer that comes before the request has ended', async (t) => {
  const client = new ClientUnderTest()
  const { stream, record, trailers } = client.open(get('/', 'POST'), false)
  client.send('HTTP/1.1 413 no\r\nContent-Length: 2\r\n\r\nno')
  t.same(trailers.lists[0]?.slice(0, 2), [':status', '413'])
  t.same(record.events, ['data', 'end'])
  t.equal(client.session.isIdle, false)
  stream.end()
  client.run()
  t.equal(record.reason?.code, 'OK')
  t.equal(client.session.isIdle, true)
  const other = client.open(get('/', 'POST'), false)
  client.send(OK_EMPTY)
  other.stream.destroy({ code: 'PEER_RESET', detail: 'enough' })
  client.run()
  t.equal(client.reason?.code, 'PEER_RESET', 'half a request is never followed by another')
})

t.test('bytes that nobody asked for end the connection', async (t) => {
  const before = new ClientUnderTest()
  before.send(OK_EMPTY)
  t.equal(before.reason?.code, 'UPSTREAM_PROTOCOL')
  const behind = new ClientUnderTest()
  const { record } = behind.open()
  behind.send(OK_EMPTY + OK_EMPTY)
  t.equal(record.reason?.code, 'OK', 'the first is the answer')
  t.equal(behind.session.isIdle, false)
  t.equal(behind.idleCount, 0)
  t.ok(behind.record.events.includes('end'))
  const later = new ClientUnderTest()
  later.open()
  later.send(OK_EMPTY)
  later.send('H')
  t.equal(later.reason?.code, 'UPSTREAM_PROTOCOL')
})

t.test('101 makes the stream carry bytes, only when it was asked for', async (t) => {
  const client = new ClientUnderTest()
  const { stream, record, trailers } = client.open(get('/', 'GET', 'upgrade', 'websocket'), false)
  client.run()
  t.equal(client.take(), 'GET / HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
  client.send('HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\n\r\n')
  t.same(trailers.lists, [[':status', '101', 'upgrade', 'websocket']])
  t.equal(record.text(), 'HTTP/1.1 200 OK\r\n\r\n')
  send(stream, 'up')
  stream.end()
  client.run()
  t.equal(client.take(), 'up')
  t.equal(record.reason, null)
  client.end()
  t.equal(record.reason?.code, 'OK')
  t.equal(client.reason?.code, 'OK')
  const refused = new ClientUnderTest()
  const asked = refused.open(get('/', 'GET', 'upgrade', 'websocket'), false)
  refused.send('HTTP/1.1 403 no\r\nContent-Length: 2\r\n\r\nno')
  t.equal(asked.record.text(), 'no')
  t.equal(asked.record.reason?.code, 'OK')
  const forced = new ClientUnderTest()
  const plain = forced.open()
  forced.send('HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  t.equal(plain.record.reason?.code, 'UPSTREAM_PROTOCOL')
})

t.test(
  'a server that goes away: what came of the answer, and whether a byte of the request had left',
  async (t) => {
    const unsent = new ClientUnderTest()
    const first = unsent.open()
    unsent.near.destroy({ code: 'PEER_RESET', detail: '' })
    unsent.run()
    t.equal(first.record.reason?.code, 'PEER_RESET')
    t.equal(unsent.session.isUnsent, true)
    for (const [text, isUnanswered] of [
      ['', true],
      ['HT', false],
      ['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', false],
    ] as const) {
      for (const isReset of [true, false]) {
        const client = new ClientUnderTest()
        const { stream, record } = client.open()
        client.send(text)
        if (isReset) client.far.destroy({ code: 'PEER_RESET', detail: '' })
        else client.far.end()
        client.run()
        t.equal(record.reason?.code, 'PEER_RESET', `${text} ${isReset}`)
        t.equal(client.session.isUnsent, false)
        t.equal(stream.isUnanswered, isUnanswered)
        t.equal(client.reason?.code, 'PEER_RESET')
        t.equal(client.scheduler.timerCount, 0)
      }
    }
    const idle = new ClientUnderTest()
    idle.end()
    t.equal(idle.session.isIdle, false)
    t.equal(idle.reason?.code, 'OK')
  },
)

t.test('an answer that nobody reads stays with the server', async (t) => {
  const client = new ClientUnderTest({ highWaterBytes: 10_000, chunkBytes: 5_000 })
  const { stream, record } = client.open()
  stream.pause()
  client.send('HTTP/1.1 200 OK\r\n\r\n')
  for (let i = 0; i < 20; i++) client.send('x'.repeat(1_000))
  t.equal(record.bytes, 0)
  t.ok(client.session.bufferedInboundBytes <= 5_000)
  client.end()
  t.equal(record.reason, null)
  stream.resume()
  client.run()
  t.equal(record.bytes, 20_000)
  t.equal(record.reason?.code, 'OK')
})

t.test('a body that is paused in its middle waits at the server, and goes on', async (t) => {
  for (const head of ['Content-Length: 60000', 'Connection: close']) {
    const client = new ClientUnderTest({ highWaterBytes: 10_000, chunkBytes: 5_000 })
    const { stream, record } = client.open()
    client.send(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n`)
    record.onBytes = () => stream.pause()
    client.send('x'.repeat(60_000))
    for (let chunk = 1; chunk <= 12; chunk++) {
      t.equal(record.bytes, 5_000 * chunk)
      t.equal(client.session.bufferedInboundBytes, 0, 'nothing of it is here')
      stream.resume()
      client.run()
    }
    client.end()
    stream.resume()
    client.run()
    t.equal(record.reason?.code, 'OK')
    t.equal(client.resources.inboundUsedBytes, 0)
  }
})

t.test('a list that could split a request is refused, and nothing of it is sent', async (t) => {
  const LISTS = [
    get('/ HTTP/1.1\r\nx: y'),
    get('/a b'),
    get(''),
    get('/', 'GET X'),
    get('/', 'GET', 'x', 'a\r\nb'),
    get('/', 'GET', 'x\r\ny', 'a'),
    get('/', 'GET', 'x y', 'a'),
    get('/', 'GET', 'x', 'a\x01b'),
    get('/', 'POST', 'content-length', '5', 'content-length', '5'),
    get('/', 'POST', 'content-length', '+5'),
    get('/', 'POST', 'content-length', '5'),
    [':method', 'GET', ':scheme', 'http', ':authority', 'a\r\nb', ':path', '/'],
    [':method', 'CONNECT', ':authority', 'a b:1'],
  ]
  const client = new ClientUnderTest()
  for (const list of LISTS) t.ok(isRefusal(client.session.openStream(list, true)), list.join('|'))
  client.run()
  t.equal(client.take(), '')
  const clean = client.open(
    get('/', 'GET', 'transfer-encoding', 'chunked', 'connection', 'x', 'host', 'other', 'keep-alive', '5'),
  )
  client.run()
  t.equal(client.take(), 'GET / HTTP/1.1\r\nhost: cart\r\n\r\n', 'fields of a connection are ours to say')
  client.send(OK_EMPTY)
  t.equal(clean.record.reason?.code, 'OK')
})

t.test('draining ends an idle connection, and a busy one after its answer', async (t) => {
  const client = new ClientUnderTest()
  const { record } = client.open()
  client.session.drain()
  t.equal(client.session.isIdle, false)
  client.send(OK_EMPTY)
  t.equal(record.reason?.code, 'OK')
  t.ok(client.record.events.includes('end'))
  const idle = new ClientUnderTest()
  idle.session.drain()
  idle.run()
  t.ok(idle.record.events.includes('end'))
})
