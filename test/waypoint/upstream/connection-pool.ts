// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { HTTP1_LIMITS } from '../../../mesh/http1/limits.ts'
import {
  MAX_HTTP2_STREAMS,
  PENDING_TIMEOUT_MS,
  PROBE_TIMEOUT_MS,
  UPSTREAM_CONNECT_TIMEOUT_MS,
  UPSTREAM_IDLE_TIMEOUT_MS,
} from '../../../waypoint/upstream/limits.ts'
import { get } from '../../support/http1-pair.ts'
import { endpoint, OK_EMPTY, policy, UpstreamLab, view } from '../../support/upstream-lab.ts'

const ONE = view([endpoint('a')])
const limited = (pool: NonNullable<Parameters<typeof policy>[0]['pool']>) =>
  view([endpoint('a')], { policy: policy({ pool }) })

const RESET = { kind: 'reset', isUnprocessed: false, isStale: false }

t.test('a connection is kept and used again', async (t) => {
  const lab = new UpstreamLab(ONE)
  const first = lab.open()
  t.equal(first.outcomes, 0, 'it waits for the connection')
  const server = lab.dial(0).accept()
  t.match(server.take(), /^GET \/ HTTP\/1\.1\r\n/)
  t.equal(first.exchange?.isReused, false)
  server.send(OK_EMPTY)
  t.equal(first.status, '200')
  t.equal(first.record.reason?.code, 'OK')
  first.exchange?.end()
  t.equal(lab.cluster.status().requests, 0, 'it ends once')
  const second = lab.open()
  t.equal(lab.dials.length, 1)
  t.equal(second.exchange?.isReused, true)
  server.send(OK_EMPTY)
  t.equal(second.status, '200')
  t.same(lab.leftovers(), [])
})

t.test('with one connection allowed, fifty wait and are served in their order', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 1 }))
  const all = Array.from({ length: 51 }, (_, i) => lab.ask({ headers: get(`/${i}`) }))
  lab.run()
  t.equal(lab.dials.length, 1)
  t.equal(lab.cluster.status().pending, 51)
  const server = lab.dial(0).accept()
  for (let i = 0; i < 51; i++) {
    t.match(server.take(), new RegExp(`^GET /${i} HTTP`))
    server.send(OK_EMPTY)
  }
  t.same([...new Set(all.map(({ status, outcomes }) => `${status} ${outcomes}`))], ['200 1'])
  t.equal(lab.dials.length, 1)
  t.same(lab.leftovers(), [])
})

t.test('who waits takes whichever connection is free first', async (t) => {
  const lab = new UpstreamLab(ONE)
  lab.open()
  const server = lab.dial(0).accept()
  server.take()
  const second = lab.open()
  t.equal(lab.dials.length, 2, 'one is made for it')
  server.send(OK_EMPTY)
  t.match(server.take(), /^GET/)
  t.equal(second.outcomes, 1, 'the other was free before')
  server.send(OK_EMPTY)
  lab.dial(1).accept()
  t.equal(lab.cluster.status().connections, 2)
  t.same(lab.leftovers(), [])
})

t.test('more than may wait are refused, and so are more than may be under way', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 1, maxPendingRequests: 2 }))
  const all = [1, 2, 3, 4].map(() => lab.open())
  t.same(
    all.map(({ code }) => code),
    ['', '', 'UPSTREAM_OVERFLOW', 'UPSTREAM_OVERFLOW'],
  )
  t.equal(all[2]?.refusedBy, null, 'it is not the fault of the endpoint')
  t.equal(lab.cluster.status().overflowCount, 2)
  lab.dial(0).accept().send(OK_EMPTY)
  t.equal(lab.open().code, '', 'there is room again')
  t.same(lab.leftovers(), [])

  const busy = new UpstreamLab(limited({ maxRequests: 1 }))
  busy.open()
  busy.open()
  busy.dial(0).accept()
  busy.dial(1).accept()
  t.equal(busy.cluster.status().requests, 1)
  t.equal(busy.cluster.status().overflowCount, 1)
  t.same(busy.leftovers(), [])
})

t.test('a connection that has served as many requests as it may is closed', async (t) => {
  const lab = new UpstreamLab(limited({ maxRequestsPerConnection: 2 }))
  lab.open()
  const server = lab.dial(0).accept()
  server.send(OK_EMPTY)
  lab.open()
  server.send(OK_EMPTY)
  t.ok(server.record.events.includes('end'), 'after the second')
  server.end()
  lab.open()
  t.equal(lab.dials.length, 2)
  t.same(lab.leftovers(), [])
})

t.test('an endpoint that refuses, does not answer, or is no endpoint', async (t) => {
  const lab = new UpstreamLab(ONE)
  const refused = lab.open()
  lab.dial(0).refuse(refuse('ENDPOINT_REFUSED', 'nobody listens'))
  t.equal(refused.code, 'ENDPOINT_REFUSED')
  t.equal(refused.refusedBy?.key, 'a')
  const late = lab.open()
  lab.scheduler.advance(UPSTREAM_CONNECT_TIMEOUT_MS - 1)
  t.equal(late.outcomes, 0)
  lab.scheduler.advance(20)
  t.equal(late.code, 'CONNECT_TIMEOUT')
  t.equal(lab.dial(1).isCancelled, true)
  const server = lab.dial(1).accept()
  t.equal(server.record.reason?.code, 'PEER_RESET', 'what comes too late is not used')
  t.equal(lab.cluster.status().endpoints[0]?.failureCount, 2)
  t.same(lab.leftovers(), [])
})

t.test('a connect that fails by our own fault is not blamed on the endpoint', async (t) => {
  const lab = new UpstreamLab(ONE)
  const opened = lab.open()
  lab.dial(0).refuse(refuse('OUT_OF_DESCRIPTORS'))
  t.same([opened.code, opened.refusedBy], ['OUT_OF_DESCRIPTORS', null])
  t.equal(lab.cluster.status().endpoints[0]?.failureCount, 0)
  t.same(lab.leftovers(), [])
})

t.test('nobody waits for ever while all connections are busy', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 1 }))
  const first = lab.open()
  const server = lab.dial(0).accept()
  const second = lab.open()
  lab.scheduler.advance(PENDING_TIMEOUT_MS / 2)
  const third = lab.open()
  lab.scheduler.advance(PENDING_TIMEOUT_MS / 2 + 20)
  t.same([second.code, third.outcomes], ['UPSTREAM_OVERFLOW', 0])
  server.send(OK_EMPTY)
  server.send(OK_EMPTY)
  t.same([first.status, third.status], ['200', '200'])
  lab.scheduler.advance(PENDING_TIMEOUT_MS)
  t.same(lab.leftovers(), [])
})

t.test(
  'a connect that fails is heard by one that waits, or by all when there is nothing to wait for',
  async (t) => {
    const lab = new UpstreamLab(ONE)
    lab.open()
    lab.dial(0).accept()
    const [second, third] = [lab.open(), lab.open()]
    lab.dial(1).refuse()
    t.same([second.code, third.code], ['ENDPOINT_REFUSED', ''])
    lab.dial(2).refuse()
    t.equal(third.code, 'ENDPOINT_REFUSED')
    t.same(lab.leftovers(), [])

    const alone = new UpstreamLab(limited({ maxConnections: 1 }))
    const all = [1, 2, 3].map(() => alone.open())
    alone.dial(0).refuse()
    t.same(
      all.map(({ code }) => code),
      ['ENDPOINT_REFUSED', 'ENDPOINT_REFUSED', 'ENDPOINT_REFUSED'],
    )
    t.equal(alone.dials.length, 1)
    t.same(alone.leftovers(), [])
  },
)

t.test('a kept connection that the server ends is not used again', async (t) => {
  for (const end of ['end', 'reset'] as const) {
    const lab = new UpstreamLab(ONE)
    lab.open()
    const server = lab.dial(0).accept()
    server.send(OK_EMPTY)
    server[end]()
    t.equal(lab.cluster.status().connections, 0)
    const second = lab.open()
    t.equal(lab.dials.length, 2)
    lab.dial(1).accept().send(OK_EMPTY)
    t.equal(second.status, '200')
    t.same(lab.leftovers(), [])
  }
})

t.test('a kept connection that ends as a request goes out tells whether a byte came', async (t) => {
  for (const [text, isStale] of [
    ['', true],
    ['HTTP/1.1 20', false],
  ] as const) {
    const lab = new UpstreamLab(ONE)
    lab.open()
    const server = lab.dial(0).accept()
    server.send(OK_EMPTY)
    const second = lab.open()
    if (text !== '') server.send(text)
    server.reset()
    t.same(second.outcome, { kind: 'reset', isUnprocessed: false, isStale })
    t.same(lab.leftovers(), [])
  }
})

t.test('a kept connection that ends in the turn of a request is not taken', async (t) => {
  const lab = new UpstreamLab(ONE)
  lab.open()
  const server = lab.dial(0).accept()
  server.send(OK_EMPTY)
  const second = lab.ask()
  server.reset()
  t.equal(lab.dials.length, 2)
  lab.dial(1).accept().send(OK_EMPTY)
  t.equal(second.status, '200')
  t.same(lab.leftovers(), [])
})

t.test('a request of which no byte has left was certainly not looked at', async (t) => {
  const lab = new UpstreamLab(ONE)
  lab.open()
  const server = lab.dial(0).accept()
  server.send(OK_EMPTY)
  server.take()
  const second = lab.ask()
  second.onBegun = (stream) => stream.destroy({ code: 'PEER_RESET', detail: '' })
  lab.run()
  t.equal(server.take(), '')
  t.match(second.outcome, { kind: 'reset', isUnprocessed: true })
  t.same(lab.leftovers(), [])
})

t.test('resets in each phase end an exchange once; the next gets another connection', async (t) => {
  const phases: Readonly<Record<string, string>> = {
    'before a byte of the answer': '',
    'in its head': 'HTTP/1.1 200 OK\r\nContent-',
    'in its body': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
    'in a chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf',
  }
  for (const [phase, text] of Object.entries(phases))
    for (const end of ['end', 'reset'] as const) {
      const lab = new UpstreamLab(ONE)
      const first = lab.open()
      const server = lab.dial(0).accept()
      if (text !== '') server.send(text)
      server[end]()
      t.equal(first.record.reason?.code, 'PEER_RESET', `${end} ${phase}`)
      t.same(first.outcome, text === '' || phase === 'in its head' ? RESET : null, `${end} ${phase}`)
      t.equal(lab.cluster.status().requests, 0)
      const second = lab.open()
      lab.dial(1).accept().send(OK_EMPTY)
      t.equal(second.status, '200')
      t.same(lab.leftovers(), [])
    }
})

t.test('an answer that is none ends the connection', async (t) => {
  const lab = new UpstreamLab(ONE)
  const first = lab.open()
  const server = lab.dial(0).accept()
  server.send('HELO\r\n\r\n')
  t.equal(first.record.reason?.code, 'UPSTREAM_PROTOCOL')
  const second = lab.open()
  const next = lab.dial(1).accept()
  next.send(OK_EMPTY)
  t.equal(second.status, '200')
  next.send(OK_EMPTY)
  t.equal(lab.cluster.status().connections, 0, 'what nobody asked for ends a kept one too')
  t.same(lab.leftovers(), [])
})

t.test('a request that is cancelled while it waits frees its place; one that runs is reset', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 1, maxPendingRequests: 1 }))
  const first = lab.open()
  first.handle?.cancel()
  first.handle?.cancel()
  t.equal(lab.cluster.status().pending, 0)
  const second = lab.open()
  const third = lab.ask()
  third.handle?.cancel()
  const server = lab.dial(0).accept()
  t.match(server.take(), /^GET/)
  t.same([first.outcomes, second.outcomes, third.outcomes], [0, 1, 0])
  second.handle?.cancel()
  t.equal(second.record.reason, null, 'after its outcome it is the stream that ends')
  second.exchange?.end()
  lab.run()
  t.equal(server.record.reason?.code, 'PEER_RESET')
  t.same(lab.leftovers(), [])
})

t.test('a request that cannot be sent is refused, and the connection serves the next', async (t) => {
  const lab = new UpstreamLab(ONE)
  const bad = lab.open({ headers: get('/', 'GET', 'x', 'a\r\nb: c') })
  const server = lab.dial(0).accept()
  t.equal(bad.outcomes, 1)
  t.not(bad.refusal, null)
  t.equal(bad.refusedBy, null)
  lab.open()
  t.equal(lab.dials.length, 1)
  t.match(server.take(), /^GET/)
  t.same(lab.leftovers(), [])
})

t.test('idle connections are closed after a while, old ones when their request has ended', async (t) => {
  const lab = new UpstreamLab(ONE)
  lab.open()
  const server = lab.dial(0).accept()
  server.send(OK_EMPTY)
  lab.scheduler.advance(UPSTREAM_IDLE_TIMEOUT_MS - 1_000)
  t.equal(lab.cluster.status().connections, 1)
  lab.scheduler.advance(UPSTREAM_IDLE_TIMEOUT_MS / 4 + 1_000 + HTTP1_LIMITS.linger.value)
  t.equal(lab.cluster.status().connections, 0)
  t.equal(lab.scheduler.timerCount, 0)

  const old = new UpstreamLab(limited({ maxConnectionDuration: { seconds: 10n } }))
  const running = old.open()
  const busy = old.dial(0).accept()
  old.scheduler.advance(13_000)
  t.equal(running.record.reason, null, 'what runs goes on')
  busy.send(OK_EMPTY)
  t.equal(running.status, '200')
  busy.end()
  t.equal(old.cluster.status().connections, 0)
  t.same(old.leftovers(), [])
})

t.test('HTTP/2: many requests on a connection, another one beyond what the server allows', async (t) => {
  const lab = new UpstreamLab(ONE)
  const all = Array.from({ length: 5 }, () => lab.open({ version: 'http2' }))
  t.equal(lab.dials.length, 1)
  const server = lab.dial(0).acceptHttp2({ maxConcurrentStreams: 3 })
  t.equal(server.says.streams.length <= 5, true)
  const more = lab.open({ version: 'http2' })
  t.equal(lab.dials.length, 2, 'its SETTINGS are known now')
  lab.dial(1).acceptHttp2()
  t.equal(more.exchange?.version, 'http2')
  for (const stream of server.says.streams) stream.sendHeaders([':status', '200'], true)
  lab.run()
  t.ok(all.filter(({ status }) => status === '200').length >= 3)
  t.same(lab.leftovers(), [])
})

t.test('HTTP/2: a stream that ends makes room for one that waits', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 1 }))
  lab.open({ version: 'http2' })
  const server = lab.dial(0).acceptHttp2({ maxConcurrentStreams: 1 })
  const second = lab.open({ version: 'http2' })
  t.equal(second.outcomes, 0)
  server.says.streams[0]?.sendHeaders([':status', '200'], true)
  lab.run()
  t.equal(second.outcomes, 1)
  server.says.streams[1]?.sendHeaders([':status', '204'], true)
  lab.run()
  t.equal(second.status, '204')
  t.equal(lab.dials.length, 1)
  t.same(lab.leftovers(), [])
})

t.test('HTTP/2: GOAWAY sends the next request to a new connection, those under way finish', async (t) => {
  const lab = new UpstreamLab(ONE)
  const first = lab.open({ version: 'http2' })
  const server = lab.dial(0).acceptHttp2()
  server.session.drain()
  lab.run()
  const second = lab.open({ version: 'http2' })
  t.equal(lab.dials.length, 2)
  lab.dial(1).acceptHttp2().says.streams[0]?.sendHeaders([':status', '200'], true)
  server.says.streams[0]?.sendHeaders([':status', '201'], true)
  lab.run()
  t.same([first.status, second.status], ['201', '200'])
  t.equal(lab.cluster.status().connections, 1)
  t.same(lab.leftovers(), [])
})

t.test('HTTP/2: a connection that only finishes its requests keeps nobody from a new one', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 1 }))
  const first = lab.open({ version: 'http2' })
  lab.dial(0).acceptHttp2().session.drain()
  lab.run()
  const second = lab.open({ version: 'http2' })
  t.equal(lab.dials.length, 2)
  lab.open({ version: 'http2' })
  t.equal(lab.dials.length, 2, 'one')
  lab.dial(1).acceptHttp2()
  t.same([first.record.reason, second.outcomes], [null, 1])
  t.same(lab.leftovers(), [])
})

t.test('HTTP/2: what the server has certainly not looked at is told', async (t) => {
  const lab = new UpstreamLab(ONE)
  const first = lab.open({ version: 'http2' })
  const server = lab.dial(0).acceptHttp2()
  server.says.streams[0]?.destroy({ code: 'OUT_OF_DESCRIPTORS', detail: '' })
  lab.run()
  t.same(first.outcome, { kind: 'reset', isUnprocessed: true, isStale: false })
  const second = lab.open({ version: 'http2' })
  server.says.streams[1]?.destroy({ code: 'STREAM_RESET', detail: '' })
  lab.run()
  t.same(second.outcome, RESET)
  const third = lab.open({ version: 'http2' })
  server.far.destroy({ code: 'PEER_RESET', detail: '' })
  lab.run()
  t.not(third.record.reason, null)
  t.equal(lab.cluster.status().connections, 0)
  t.same(lab.leftovers(), [])
})

t.test(
  'HTTP/2: a server that allows no stream, or speaks another protocol, is not dialled for ever',
  async (t) => {
    const lab = new UpstreamLab(ONE)
    lab.open({ version: 'http2' })
    lab.dial(0).acceptHttp2({ maxConcurrentStreams: 0 })
    const second = lab.open({ version: 'http2' })
    t.equal(second.outcomes, 1)
    t.ok(lab.dials.length <= 2)

    const other = new UpstreamLab(ONE)
    const first = other.open({ version: 'http2' })
    other.dial(0).accept().send('HTTP/1.1 400 Bad Request\r\n\r\n')
    t.equal(first.outcomes, 1)
    t.not(first.record.reason, null)
    t.equal(other.dials.length, 1)
    t.same(other.leftovers(), [])
  },
)

t.test('HTTP/2: connections are made for as many as one holds', async (t) => {
  const lab = new UpstreamLab(ONE)
  const all = Array.from({ length: MAX_HTTP2_STREAMS + 1 }, () => lab.ask({ version: 'http2' }))
  lab.run()
  t.equal(lab.dials.length, 2)
  lab.dial(0).acceptHttp2()
  lab.dial(1).acceptHttp2()
  t.ok(all.every(({ outcomes }) => outcomes === 1))
  t.same(lab.leftovers(), [])
})

t.test('HTTP/2: who gives no answer in time is asked whether he is there, once', async (t) => {
  for (const isThere of [true, false]) {
    const lab = new UpstreamLab(ONE)
    const [first, second] = [lab.open({ version: 'http2' }), lab.open({ version: 'http2' })]
    const server = lab.dial(0).acceptHttp2()
    if (!isThere) server.far.pause()
    for (const each of [first, second]) {
      t.same(each.exchange?.timedOut(), { kind: 'timeout' })
      each.exchange?.end()
    }
    lab.scheduler.advance(PROBE_TIMEOUT_MS + 20)
    t.equal(lab.cluster.status().connections, isThere ? 1 : 0)
    t.equal(lab.cluster.status().endpoints[0]?.failureCount, 2)
    lab.open({ version: 'http2' })
    t.equal(lab.dials.length, isThere ? 1 : 2)
    t.same(lab.leftovers(), [])
  }
})

t.test('HTTP/2: a new connection gets no more than the last server allowed, until it says so', async (t) => {
  const lab = new UpstreamLab(limited({ maxConnections: 2 }))
  lab.open({ version: 'http2' })
  lab.dial(0).acceptHttp2({ maxConcurrentStreams: 2 })
  const all = Array.from({ length: 6 }, () => lab.open({ version: 'http2' }))
  const begun = () => all.filter(({ outcomes }) => outcomes === 1).length
  t.equal(begun(), 1)
  t.equal(lab.dials.length, 2, 'as many as are allowed, though three would be needed')
  const second = lab.dial(1).accept()
  t.match(second.take(), /^PRI /)
  t.equal(begun(), 3)
  t.same(lab.leftovers(), [])
})

t.test('HTTP/2: nobody is asked any more on a connection that has closed', async (t) => {
  const lab = new UpstreamLab(ONE)
  const opened = lab.open({ version: 'http2' })
  const server = lab.dial(0).acceptHttp2()
  server.far.pause()
  opened.exchange?.timedOut()
  lab.run()
  server.far.destroy({ code: 'PEER_RESET', detail: '' })
  lab.run()
  t.equal(lab.scheduler.timerCount, 0)
  t.same(lab.leftovers(), [])
})
