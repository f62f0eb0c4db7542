// SPDX-License-Identifier: Apache-2.0
// How long a connection lasts, and what is given up.
import t from 'tap'
import { HTTP1_LIMITS } from '../../../mesh/http1/limits.ts'
import { send } from '../../support/h2-pair.ts'
import { answer, type Received, ServerUnderTest } from '../../support/http1-pair.ts'

const GET = 'GET /a HTTP/1.1\r\nHost: cart\r\n\r\n'
const OK_EMPTY = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
const empty408 = ({ stream }: Received) => stream.sendHeaders(answer('408'), true)
const empty = ({ stream }: Received) => stream.sendHeaders(answer('200'), true)

t.test(
  'the rest of a request is read after its answer, so much as is cheaper than a new connection',
  async (t) => {
    const server = new ServerUnderTest()
    server.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345')
    empty(server.request(0))
    server.send(`67890${GET}`)
    t.equal(server.requests.length, 2)
    t.equal(server.request(0).record.text(), '12345')
    const large = new ServerUnderTest()
    large.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n')
    empty(large.request(0))
    large.send('x'.repeat(HTTP1_LIMITS.discard.value))
    t.notOk(large.record.events.includes('end'))
    large.send('x')
    t.ok(large.record.events.includes('end'))
    large.scheduler.advance(HTTP1_LIMITS.linger.value)
    t.equal(large.reason?.code, 'OK')
  },
)

t.test(
  'draining: the answer under way says that it is the last; who is idle may ask once more',
  async (t) => {
    const busy = new ServerUnderTest()
    busy.send(GET)
    busy.session.drain()
    empty(busy.request(0))
    busy.run()
    t.equal(busy.take(), 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    t.ok(busy.record.events.includes('end'))
    const { value: patienceMs } = HTTP1_LIMITS.drainIdle
    const idle = new ServerUnderTest()
    idle.session.drain()
    idle.scheduler.advance(patienceMs - 1)
    t.notOk(idle.record.events.includes('end'))
    idle.send(GET)
    empty(idle.request(0))
    idle.run()
    t.equal(idle.take(), 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    idle.end()
    t.equal(idle.reason?.code, 'OK')
    const silent = new ServerUnderTest()
    silent.session.drain()
    silent.scheduler.advance(patienceMs + 1)
    t.ok(silent.record.events.includes('end'))
    silent.end()
    t.equal(silent.reason?.code, 'OK')
  },
)

t.test('draining in the middle of an answer that said the connection stays: one more request', async (t) => {
  const server = new ServerUnderTest()
  server.send(GET)
  const { stream } = server.request(0)
  stream.sendHeaders(answer('200', 'content-length', '2'), false)
  server.run()
  server.session.drain()
  send(stream, 'hi')
  stream.end()
  server.run()
  t.equal(server.take(), 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi')
  t.notOk(server.record.events.includes('end'))
  server.send(GET)
  empty(server.request(1))
  server.run()
  t.match(server.take(), /connection: close/)
  t.ok(server.record.events.includes('end'))
})

t.test('who is answered and owes the rest of a body is given up as an idle client is', async (t) => {
  const POST = 'POST /a HTTP/1.1\r\nHost: cart\r\nContent-Length: 100\r\n\r\n'
  const owing = new ServerUnderTest({ idleTimeoutMs: 5_000 })
  owing.onRequest = empty
  owing.send(POST)
  for (let round = 0; round < 3; round++) {
    owing.scheduler.advance(4_000)
    owing.send('x')
  }
  t.notOk(owing.record.events.includes('end'), 'as long as something comes it is waited for')
  owing.scheduler.advance(10_000)
  t.ok(owing.record.events.includes('end'))

  const waiting = new ServerUnderTest({ idleTimeoutMs: 5_000 })
  waiting.send(POST)
  waiting.scheduler.advance(60_000)
  t.notOk(waiting.record.events.includes('end'), 'an exchange under way is for its owner to end')
})

t.test(
  '408 is the last answer where the request is not whole, and the connection ends with it',
  async (t) => {
    const stalled = new ServerUnderTest()
    stalled.send('POST /a HTTP/1.1\r\nHost: cart\r\nContent-Length: 100\r\n\r\nx')
    empty408(stalled.request(0))
    stalled.run()
    t.equal(stalled.take(), 'HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    t.ok(stalled.record.events.includes('end'))
    stalled.scheduler.advance(2 * HTTP1_LIMITS.linger.value)
    t.equal(stalled.reason?.code, 'OK')
    t.equal(stalled.scheduler.timerCount, 0)

    const whole = new ServerUnderTest()
    whole.send(GET)
    empty408(whole.request(0))
    whole.run()
    t.notMatch(
      whole.take(),
      /connection: close/,
      'an application that says it of a whole request ends nothing',
    )
  },
)

t.test('a head that does not end, a client that says nothing', async (t) => {
  const slow = new ServerUnderTest()
  for (const char of 'GET / HTTP/1') {
    slow.send(char)
    slow.scheduler.advance(HTTP1_LIMITS.headTimeout.value / 12 + 1)
  }
  t.match(slow.take(), /^HTTP\/1\.1 408 Request Timeout\r\nx-sidestep-reason: HTTP_HEAD_TIMEOUT\r\n/)
  t.same(
    slow.refused.map(({ code }) => code),
    ['HTTP_HEAD_TIMEOUT'],
    'and told, for a record',
  )
  const idle = new ServerUnderTest({ idleTimeoutMs: 5_000 })
  idle.scheduler.advance(4_000)
  idle.onRequest = empty
  idle.send(GET)
  idle.scheduler.advance(4_900)
  t.notOk(idle.record.events.includes('end'), 'the wait begins anew with each request')
  idle.scheduler.advance(200)
  t.ok(idle.record.events.includes('end'))
  t.equal(idle.take(), OK_EMPTY)
})

t.test(
  'a client that has ended its half gets its answer; one that ends within a request is gone',
  async (t) => {
    const whole = new ServerUnderTest()
    whole.push(GET)
    whole.end()
    t.equal(whole.reason, null)
    empty(whole.request(0))
    whole.run()
    t.equal(whole.take(), 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    t.equal(whole.reason?.code, 'OK')
    for (const text of ['GET / HT', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12']) {
      const half = new ServerUnderTest()
      half.push(text)
      half.end()
      t.equal(half.reason?.code, 'PEER_RESET')
      t.equal(half.scheduler.timerCount, 0)
    }
  },
)

t.test('a client that resets is told to the owner', async (t) => {
  const server = new ServerUnderTest()
  server.send(GET)
  server.far.destroy({ code: 'PEER_RESET', detail: '' })
  server.run()
  t.equal(server.request(0).record.reason?.code, 'PEER_RESET')
  t.equal(server.reason?.code, 'PEER_RESET')
  t.equal(server.scheduler.timerCount, 0)
})

t.test('bytes that wait count against the worker’s budget', async (t) => {
  const server = new ServerUnderTest({ inboundLimitBytes: 10_000 })
  server.send(GET + 'GET /b HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000))
  t.match(server.take(), /x-sidestep-reason: LIMIT_NODE/)
  t.equal(server.resources.inboundUsedBytes, 0)
})
