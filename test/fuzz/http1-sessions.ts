// SPDX-License-Identifier: Apache-2.0
// Sessions of HTTP/1.1 under random use: what one side writes the other reads, however it is cut and held back; and whatever a
// peer sends and an owner does, nothing throws, everything is told once and nothing stays behind. FUZZ_RUNS: how many.
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import { Http1ClientSession } from '../../mesh/http1/client-session.ts'
import { Http1ServerSession } from '../../mesh/http1/server-session.ts'
import type { Http1Stream } from '../../mesh/http1/stream.ts'
import { createMemoryPair, ManualScheduler, memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from '../support/byte-stream-contract.ts'
import { send } from '../support/h2-pair.ts'
import { answer, ClientUnderTest, get, ServerUnderTest } from '../support/http1-pair.ts'
import { RecordingHttpHeaders } from '../support/recording-headers.ts'

const RUNS = Number(process.env.FUZZ_RUNS ?? 150)
const body = fc.record({
  pieces: fc.array(fc.nat({ max: 40_000 }), { maxLength: 6 }),
  isKnown: fc.boolean(),
  hasTrailers: fc.boolean(),
  headroom: fc.constantFrom(0, 16, 30),
  /** Every how many chunks the reader pauses for a turn. */
  pauses: fc.nat({ max: 4 }),
})
type Body = typeof body extends fc.Arbitrary<infer T> ? T : never

/** Writes a body as long as it may, the rest after onDrain; the head must have been sent. */
function writeAll(
  stream: Http1Stream,
  record: RecordingHandler,
  { pieces, isKnown, hasTrailers, headroom }: Body,
): void {
  let next = 0
  let isDone = false
  const go = () => {
    while (next < pieces.length) {
      const bytes = pieces[next] ?? 0
      if (!send(stream, textOf(next++, bytes), headroom)) return
    }
    if (isDone) return
    isDone = true
    if (hasTrailers && !isKnown) stream.sendHeaders(['x-t', 'sum'], true)
    else stream.end()
  }
  record.onDrain = go
  go()
}

const textOf = (index: number, bytes: number) => String.fromCharCode(97 + index).repeat(bytes)
const whole = ({ pieces }: Body) => pieces.map((bytes, index) => textOf(index, bytes)).join('')
const lengthOf = (one: Body) => (one.isKnown ? ['content-length', String(whole(one).length)] : [])

/** Pauses its stream now and then, and resumes it a millisecond later. */
function reading(scheduler: ManualScheduler, stream: Http1Stream, { pauses }: Body): RecordingHandler {
  const record = new RecordingHandler()
  let count = 0
  record.onBytes = () => {
    if (pauses === 0 || ++count % pauses > 0) return
    stream.pause()
    scheduler.startTimer(1, () => stream.resume())
  }
  stream.setHandler(record)
  return record
}

t.test('exchanges arrive whole, one after another on one connection', async (t) => {
  const exchange = fc.record({ asked: body, answered: body, isEarly: fc.boolean() })
  const options = fc.record({
    chunkBytes: fc.constantFrom(1_000, 4_096, 262_144),
    highWaterBytes: fc.constantFrom(1, 10_000, 1 << 20),
  })
  fc.assert(
    fc.property(fc.array(exchange, { minLength: 1, maxLength: 4 }), options, (exchanges, pair) => {
      const scheduler = new ManualScheduler()
      const [near, far] = createMemoryPair(scheduler, pair)
      const resources = new SessionResources({ scheduler, allocateBlock: memoryBlock })
      let served: { record: RecordingHandler; trailers: RecordingHttpHeaders } | null = null
      let index = 0
      const ended: string[] = []
      new Http1ServerSession({
        transport: far,
        resources,
        scheme: 'http',
        handler: {
          onStream(stream) {
            const one = exchanges[index]
            if (one === undefined) throw new Error('a request too many')
            const record = reading(scheduler, stream, one.asked)
            const trailers = new RecordingHttpHeaders()
            stream.headersHandler = trailers
            served = { record, trailers }
            const reply = () => {
              stream.sendHeaders(answer('200', ...lengthOf(one.answered)), false)
              writeAll(stream, record, one.answered)
            }
            if (one.isEarly && one.asked.pieces.length === 0) reply()
            else record.onEnd = reply
          },
          onRefused: (refusal) => ended.push(refusal.detail),
          onClose: (reason) => ended.push(`server ${reason.code} ${reason.detail}`),
        },
      })
      const client = new Http1ClientSession({
        transport: near,
        resources,
        handler: { onIdle() {}, onClose: (reason) => ended.push(`client ${reason.code} ${reason.detail}`) },
      })
      for (const one of exchanges) {
        const stream = client.openStream(get('/', 'POST', ...lengthOf(one.asked)), false)
        if (isRefusal(stream)) throw new Error(`${stream.detail} ${ended}`)
        const record = reading(scheduler, stream, one.answered)
        const trailers = new RecordingHttpHeaders()
        stream.headersHandler = trailers
        writeAll(stream, record, one.asked)
        scheduler.advance(60_000)
        index++
        // as: TypeScript does not see that the callback has set it.
        const got = served as { record: RecordingHandler; trailers: RecordingHttpHeaders } | null
        if (got?.record.text() !== whole(one.asked)) throw new Error('the request is another one')
        if (record.text() !== whole(one.answered)) throw new Error('the answer is another one')
        if (record.reason?.code !== 'OK' || got.record.reason?.code !== 'OK') throw new Error('not in order')
        if (!one.isEarly && got.trailers.lists.length !== Number(one.asked.hasTrailers && !one.asked.isKnown))
          throw new Error('trailers of the request')
        if (trailers.lists.length !== 1 + Number(one.answered.hasTrailers && !one.answered.isKnown))
          throw new Error('trailers of the answer')
      }
      return ended.length === 0 && resources.inboundUsedBytes === 0
    }),
    { numRuns: RUNS },
  )
  t.pass()
})

const PIECES = [
  ...[
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
    '3\r\nabc\r\n',
    '0\r\n\r\n',
  ],
  ...[
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n',
  ],
  ...[
    'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n',
    'GET / HTTP/1.0\r\n\r\n',
    'abc',
    '\r\n',
    '\0',
    'x'.repeat(70_000),
    'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n',
  ],
  ...[
    'HTTP/1.1 200 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n',
    'HTTP/1.1 204 x\r\n\r\n',
    'HTTP/1.1 100 x\r\n\r\n',
  ],
  ...[
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    'HT',
  ],
]
type Step = { readonly kind: string; readonly text: string }
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...PIECES).map((text) => ({ kind: 'text', text })) },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(
        'head',
        'whole',
        '101',
        '100',
        'write',
        'large',
        'trailers',
        'end',
        'pause',
        'resume',
        'destroy',
      )
      .map((kind) => ({ kind, text: '' })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('turn', 'wait', 'fin', 'deaf', 'hear', 'drain', 'open', 'upgrade')
      .map((kind) => ({ kind, text: '' })),
  },
)

/** What an owner may do to a stream at any time. */
function act(stream: Http1Stream, kind: string, isServer: boolean, isHeadSent: boolean): boolean {
  if (kind === 'head' && isServer && !isHeadSent) stream.sendHeaders(answer('200'), false)
  else if (kind === 'whole' && isServer && !isHeadSent)
    stream.sendHeaders(answer('200', 'content-length', '0'), true)
  else if (kind === '101' && isServer && !isHeadSent)
    stream.sendHeaders(answer('101', 'upgrade', 'websocket'), false)
  else if (kind === '100' && isServer && !isHeadSent) stream.sendHeaders(answer('100'), false)
  else if (kind === 'write' && isHeadSent) send(stream, 'bytes')
  else if (kind === 'large' && isHeadSent) send(stream, 'x'.repeat(20_000))
  else if (kind === 'trailers' && isHeadSent) stream.sendHeaders(['x', 'y'], true)
  else if (kind === 'end' && isHeadSent) stream.end()
  else if (kind === 'pause') stream.pause()
  else if (kind === 'resume') stream.resume()
  else if (kind === 'destroy') stream.destroy({ code: 'NO_ENDPOINT', detail: '' })
  return isHeadSent || ['head', 'whole', '101'].includes(kind)
}

t.test('whatever comes and whatever is done, nothing throws and nothing stays behind', async (t) => {
  const options = fc.record({
    chunkBytes: fc.constantFrom(1, 7, 100_000),
    highWaterBytes: fc.constantFrom(10, 100_000),
  })
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 25 }), options, (isServer, steps, pair) => {
      const server = isServer ? new ServerUnderTest(pair) : null
      const client = isServer ? null : new ClientUnderTest(pair)
      const end = server ?? client
      if (end === null) return false
      const records: RecordingHandler[] = []
      let stream: Http1Stream | null = null
      let isHeadSent = false
      if (server !== null)
        server.onRequest = (request) => {
          records.push(request.record)
          stream = request.stream
          isHeadSent = false
        }
      for (const { kind, text } of steps) {
        if (kind === 'text') end.push(text)
        else if (kind === 'turn') end.scheduler.runTurn()
        else if (kind === 'wait') end.scheduler.advance(5_000)
        else if (kind === 'fin') end.far.end()
        else if (kind === 'deaf') end.far.pause()
        else if (kind === 'hear') end.far.resume()
        else if (kind === 'drain') end.session.drain()
        else if (client !== null && (kind === 'open' || kind === 'upgrade')) {
          if (!client.session.isIdle) continue
          const opened = client.open(
            get('/', 'POST', ...(kind === 'open' ? [] : ['upgrade', 'websocket'])),
            false,
          )
          records.push(opened.record)
          stream = opened.stream
          isHeadSent = true
        } else if (stream !== null) isHeadSent = act(stream, kind, isServer, isHeadSent)
        if (text.length % 2 === 0) end.run()
      }
      end.far.destroy({ code: 'PEER_RESET', detail: '' })
      end.run()
      end.scheduler.advance(1_000_000)
      if (end.reason === null) throw new Error('the end was not told')
      if (records.some((record) => record.reason === null))
        throw new Error('the end of a stream was not told')
      return end.scheduler.timerCount === 0 && end.resources.inboundUsedBytes === 0
    }),
    { numRuns: RUNS * 10 },
  )
  t.pass()
})
