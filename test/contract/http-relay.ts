// SPDX-License-Identifier: Apache-2.0
// What a request and its answer look like behind a relay, for every pair of versions.
import t, { type Test } from 'tap'
import { headerValue } from '../../mesh/http/header-list.ts'
import { send } from '../support/h2-pair.ts'
import { HTTP_VERSIONS } from '../support/http-wire.ts'
import { answer, get } from '../support/http1-pair.ts'
import { RelayPair, type Versions } from '../support/relay-pair.ts'

const POST = get('/', 'POST', 'te', 'trailers')
const CONNECT = [':method', 'CONNECT', ':authority', 'cart:80']
const LARGE = Buffer.alloc(500_000, 'abcdefghijklmnopqrstuvwxyz0123456789-')

/** Runs a test for all four pairs of versions. */
function test(title: string, body: (pair: RelayPair, t: Test, versions: Versions) => void): void {
  for (const down of HTTP_VERSIONS)
    for (const up of HTTP_VERSIONS)
      t.test(`${down} to ${up}: ${title}`, async (t) => body(new RelayPair({ down, up }), t, { down, up }))
}

test('heads, interim answers, bodies and trailers pass as they are', (pair, t) => {
  const { near, far } = pair.ask([...POST, 'x-a', 'b'], false)
  t.same([headerValue(far.headers, 'x-a'), headerValue(far.headers, 'te')], ['b', 'trailers'])
  far.stream.sendHeaders(answer('100'), false)
  far.stream.sendHeaders(answer('103', 'link', '</a>'), false)
  pair.run()
  t.same(near.said.lists, [answer('100'), answer('103', 'link', '</a>')])
  t.equal(pair.relays[0]?.isAnswered, false)
  send(near.stream, 'question')
  near.stream.sendHeaders(['x-t', 'asked'], true)
  pair.run()
  t.same([far.body.text(), far.said.lists], ['question', [['x-t', 'asked']]])
  t.same(far.body.events, ['data', 'end'])
  far.stream.sendHeaders(answer('200', 'x-b', 'c'), false)
  send(far.stream, 'reply')
  far.stream.sendHeaders(['x-u', 'told'], true)
  pair.run()
  t.same(near.said.lists.slice(2), [answer('200', 'x-b', 'c', 'via', 'test'), ['x-u', 'told']])
  t.same(near.body.events, ['data', 'end', 'close'])
  t.same([near.body.text(), near.code, far.code], ['reply', 'OK', 'OK'])
  t.same(pair.reasons, [{ code: 'OK', detail: '' }])
  t.same([pair.relays[0]?.requestBytes, pair.relays[0]?.answerBytes], [8, 5])
})

test('a slow reader holds its writer back, both ways, and nothing is lost', (pair, t) => {
  const { near, far } = pair.ask(POST, false)
  far.stream.pause()
  t.equal(send(near.stream, LARGE), false)
  near.stream.sendHeaders(['x-t', 'asked'], true)
  pair.run()
  t.equal(far.body.bytes, 0)
  t.ok((pair.relays[0]?.requestBytes ?? LARGE.length) < LARGE.length / 2, 'most of it waits with the client')
  far.stream.resume()
  pair.run()
  t.ok(Buffer.concat(far.body.chunks).equals(LARGE))
  t.same(far.said.lists, [['x-t', 'asked']])
  far.stream.sendHeaders(answer('200'), false)
  pair.run()
  near.stream.pause()
  t.equal(send(far.stream, LARGE), false)
  far.stream.sendHeaders(['x-u', 'told'], true)
  pair.run()
  t.ok((pair.relays[0]?.answerBytes ?? LARGE.length) < LARGE.length / 2, 'most of it waits with the server')
  near.stream.resume()
  pair.run()
  t.ok(Buffer.concat(near.body.chunks).equals(LARGE))
  t.same(near.said.lists.at(-1), ['x-u', 'told'])
  t.same([near.code, far.code, pair.reasons.length], ['OK', 'OK', 1])
  t.equal(pair.resources.inboundUsedBytes, 0)
})

test('lengths pass, and answers without a body', (pair, t) => {
  for (const [method, status, length] of [
    ['HEAD', '200', '7'],
    ['GET', '304', '7'],
    ['DELETE', '204', undefined],
    ['GET', '200', '0'],
  ] as const) {
    const { near, far } = pair.ask(get('/', method), true)
    far.stream.sendHeaders(answer(status, ...(length === undefined ? [] : ['content-length', length])), true)
    pair.run()
    const [said = []] = near.said.lists
    t.same([said[1], headerValue(said, 'content-length')], [status, length], `${method} ${status}`)
    t.same([near.body.events, near.code, far.code], [['end', 'close'], 'OK', 'OK'])
  }
  const { near, far } = pair.ask(get('/', 'POST', 'content-length', '4'), false)
  t.equal(headerValue(far.headers, 'content-length'), '4')
  send(near.stream, 'four')
  near.stream.end()
  pair.run()
  far.stream.sendHeaders(answer('200', 'content-length', '5'), false)
  send(far.stream, 'fives')
  far.stream.end()
  pair.run()
  t.same([far.body.text(), near.body.text(), near.code], ['four', 'fives', 'OK'])
})

test('a server that is gone before its answer leaves the answer to the owner', (pair, t) => {
  const { near, far } = pair.ask(POST, false)
  send(near.stream, LARGE)
  far.stream.sendHeaders(answer('103'), false)
  far.stream.pause()
  pair.run()
  pair.cutUpstream()
  t.same(
    near.said.lists.map((list) => [list[1], headerValue(list, 'x-sidestep-reason')]),
    [
      ['103', undefined],
      ['502', 'PEER_RESET'],
    ],
  )
  t.same(pair.unanswered, [{ code: 'PEER_RESET', detail: 'cut' }])
  t.ok(near.body.events.includes('end'))
  near.stream.end()
  pair.run()
  t.same(pair.reasons, pair.unanswered)
})

test('a server that resets a request is a failure of the upstream', (pair, t, { up }) => {
  const { near, far } = pair.ask(get('/'), true)
  far.stream.destroy({ code: 'INTERNAL', detail: '' })
  pair.run()
  const [said = []] = near.said.lists
  // An h1 server answers as long as it can; h2 has a frame for it.
  t.equal(said[1], up === 'h1' ? '500' : '502')
  t.same(
    pair.unanswered.map(({ code }) => code),
    up === 'h1' ? [] : ['STREAM_RESET'],
  )
})

test('an answer that breaks off is none, whatever the versions', (pair, t, { down }) => {
  const { near, far } = pair.ask(get('/'), true)
  far.stream.sendHeaders(answer('200', 'content-length', '10'), false)
  send(far.stream, 'half')
  pair.run()
  far.stream.destroy({ code: 'STREAM_RESET', detail: 'gone' })
  pair.run()
  t.equal(near.body.text(), 'half')
  t.notOk(near.body.events.includes('end'))
  t.notOk(['', 'OK'].includes(near.code), near.code)
  if (down === 'h2') t.same(near.body.reason, { code: 'STREAM_RESET', detail: 'connect_error' }, 'not CANCEL')
  t.same([pair.unanswered.length, pair.reasons.length], [0, 1])
  t.not(pair.reasons[0]?.code, 'OK')
})

test('what the upstream breaks is told as its fault', (pair, t, { up }) => {
  const { near, far } = pair.ask(get('/'), true)
  // A body that is shorter than announced: h2 sends it, h1 cannot.
  far.stream.sendHeaders(answer('200', 'content-length', '10'), false)
  send(far.stream, 'half')
  pair.run()
  far.stream.end()
  pair.run()
  t.notOk(['', 'OK'].includes(near.code), near.code)
  t.equal(pair.reasons[0]?.code, up === 'h2' ? 'UPSTREAM_PROTOCOL' : 'PEER_RESET')
})

for (const isAnswered of [false, true]) {
  const when = isAnswered ? 'while it is answered' : 'before it is answered'
  test(`a client that gives up ${when} ends the exchange of the server`, (pair, t) => {
    const { near, far } = pair.ask(POST, false)
    if (isAnswered) far.stream.sendHeaders(answer('200'), false)
    send(near.stream, 'half')
    pair.run()
    near.stream.destroy({ code: 'STREAM_RESET', detail: 'enough' })
    pair.run()
    t.equal(far.body.text(), 'half')
    t.notOk(['', 'OK'].includes(far.code), far.code)
    t.notOk(far.body.events.includes('end'))
    t.same([pair.unanswered.length, pair.reasons.length], [0, 1])
  })
}

test('an answer that does not wait for the request ends both', (pair, t) => {
  const { near, far } = pair.ask(POST, false)
  send(near.stream, LARGE)
  far.stream.pause()
  pair.run()
  far.stream.sendHeaders(answer('413'), true)
  pair.run()
  t.equal(near.said.lists[0]?.[1], '413')
  t.ok(near.body.events.includes('end'))
  near.stream.end()
  pair.run()
  t.not(near.code, '')
  t.equal(far.code, 'OK')
  t.equal(pair.reasons.length, 1)
  t.equal(pair.resources.inboundUsedBytes, 0)
})

test('CONNECT passes bytes, each half for itself', (pair, t) => {
  const { near, far } = pair.ask(CONNECT, false)
  far.stream.sendHeaders(answer('200'), false)
  pair.run()
  send(near.stream, 'there')
  send(far.stream, 'back')
  far.stream.end()
  pair.run()
  t.same([far.body.text(), near.body.text(), near.code], ['there', 'back', ''])
  send(near.stream, ', more')
  near.stream.end()
  pair.run()
  t.same([far.body.text(), near.code, far.code], ['there, more', 'OK', 'OK'])
  t.same(pair.reasons, [{ code: 'OK', detail: '' }])
})

test('a tunnel that breaks after one half has ended is a failure', (pair, t) => {
  const { near, far } = pair.ask(CONNECT, false)
  far.stream.sendHeaders(answer('200'), false)
  far.stream.end()
  pair.run()
  pair.cutUpstream()
  t.notOk(['', 'OK'].includes(near.code), near.code)
  t.equal(pair.reasons[0]?.code, 'PEER_RESET')
})

t.test(
  'a change of protocol passes where both versions know it, and is refused where one does not',
  async (t) => {
    const upgrade = get('/', 'GET', 'upgrade', 'websocket')
    const whole = new RelayPair({ down: 'h1', up: 'h1' })
    const { near, far } = whole.ask(upgrade, false)
    far.stream.sendHeaders(answer('101', 'upgrade', 'websocket'), false)
    whole.run()
    send(near.stream, 'ping')
    send(far.stream, 'pong')
    far.stream.end()
    whole.run()
    near.stream.end()
    whole.run()
    t.same([near.body.text(), far.body.text(), near.code, far.code], ['pong', 'ping', 'OK', 'OK'])
    const half = new RelayPair({ down: 'h1', up: 'h2' })
    const plain = half.ask(upgrade, false)
    t.equal(headerValue(plain.far.headers, 'upgrade'), undefined)
    t.equal(plain.far.isEnd, true, 'the server need not wait for a body')
    plain.far.stream.sendHeaders(answer('426'), true)
    half.run()
    t.equal(plain.near.said.lists[0]?.[1], '426')
    t.equal(half.reasons.length, 1)
  },
)

t.test('hosts and cookies have one form behind a relay', async (t) => {
  const pair = new RelayPair({ down: 'h2', up: 'h1' })
  const fields = ['host', 'cart.shop', 'cookie', 'a=1', 'x', 'y', 'cookie', 'b=2']
  const list = [':method', 'GET', ':scheme', 'http', ':path', '/', ...fields]
  const { far } = pair.ask(list, true)
  t.equal(headerValue(far.headers, ':authority'), 'cart.shop')
  t.equal(headerValue(far.headers, 'cookie'), 'a=1; b=2')
  t.equal(far.headers.filter((name) => name === 'cookie').length, 1)
})

t.test('what must not stand in trailers of HTTP/1.1 is left out of them', async (t) => {
  const pair = new RelayPair({ down: 'h1', up: 'h2' })
  const { near, far } = pair.ask(get('/'), true)
  far.stream.sendHeaders(answer('200'), false)
  send(far.stream, 'x')
  const fields = [
    'grpc-status',
    '0',
    'content-type',
    'a',
    'set-cookie',
    'b',
    'content-length',
    '3',
    'x-t',
    'c',
  ]
  far.stream.sendHeaders(fields, true)
  pair.run()
  t.same(near.said.lists[1], ['grpc-status', '0', 'x-t', 'c'])
  t.equal(near.code, 'OK')
})
