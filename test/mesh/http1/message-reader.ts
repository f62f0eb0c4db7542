// SPDX-License-Identifier: Apache-2.0
// Bytes become the same messages however packets cut them; bodies and chunks that lie about their length are refused.
import t from 'tap'
import type { Refusal } from '../../../mesh/errors/refusal.ts'
import type { HeaderList } from '../../../mesh/http/header-list.ts'
import { HTTP1_LIMITS } from '../../../mesh/http1/limits.ts'
import { type MessageHandler, MessageReader } from '../../../mesh/http1/message-reader.ts'
import { type BodyLength, parseRequestHead } from '../../../mesh/http1/request-head.ts'
import type { Block } from '../../../mesh/reactor/byte-stream.ts'

/** Writes down what a reader of requests says, one message after the other. */
class Recorder implements MessageHandler {
  readonly events: string[] = []
  readonly reader = new MessageReader(this)
  onHead(text: string): BodyLength | null {
    const head = parseRequestHead(text, 'http')
    if (head.kind === 'refusal') {
      this.events.push(head.code)
      return null
    }
    this.events.push(head.headers.join('|'))
    return head.body
  }
  onBody(block: Block, start: number, end: number): void {
    const text = block.bytes.toString('latin1', start, end)
    const last = this.events.at(-1) ?? ''
    if (last.startsWith('body ')) this.events[this.events.length - 1] = last + text
    else this.events.push(`body ${text}`)
  }
  onTrailers(headers: HeaderList): void {
    this.events.push(`trailers ${headers.join('|')}`)
  }
  onMessageEnd(): void {
    this.events.push('end')
  }
  onFault({ code }: Refusal): void {
    this.events.push(code)
  }
  read(text: string): void {
    const block = { bytes: Buffer.from(text, 'latin1'), address: 0 }
    for (let at = 0; at < text.length; ) {
      const to = this.reader.read(block, at, text.length)
      this.reader.next()
      if (to === at) return
      at = to
    }
  }
}

function eventsOf(...parts: string[]): readonly string[] {
  const recorder = new Recorder()
  for (const part of parts) recorder.read(part)
  recorder.events.push(recorder.reader.end() ? 'whole' : 'half')
  return recorder.events
}

const CHUNKED = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
const STREAMS = [
  'GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n',
  '\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
  `${CHUNKED}3\r\nabc\r\n0000B;a;b=c\r\n01234567890\r\n0\r\nX-Sum: 1\r\nx-b: c\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n`,
  `${CHUNKED}3;x\r\nabc\r\n00;y=z\r\n\r\n${CHUNKED}0\r\n\r\n`,
  `${CHUNKED}3\r\nabcd\r\n0\r\n\r\n`,
  `${CHUNKED}3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n`,
  'GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\n\n',
  'GET / HTTP/1.1\r\nHost: a\r\nx: y\rz\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel',
]

t.test('bytes become the same messages wherever packets cut them', async (t) => {
  for (const stream of STREAMS) {
    const whole = eventsOf(stream)
    t.same(eventsOf(...stream), whole, 'byte by byte')
    for (let at = 1; at < stream.length; at++)
      t.same(eventsOf(stream.slice(0, at), stream.slice(at)), whole, `${at}`)
  }
  const [, , chunked] = STREAMS
  t.same(eventsOf(chunked ?? '').slice(1, 4), ['body abc01234567890', 'trailers x-sum|1|x-b|c', 'end'])
})

t.test('chunks that lie, and lines before them that two readers read differently', async (t) => {
  const BAD: readonly (readonly [string, string])[] = [
    ['no digits', '\r\n'],
    ['space before', ' 3\r\nabc\r\n'],
    ['space behind', '3 \r\nabc\r\n'],
    ['space before an extension', '3 ;a\r\nabc\r\n'],
    ['tab behind', '3\t\r\nabc\r\n'],
    ['sign', '+3\r\nabc\r\n'],
    ['minus', '-1\r\n'],
    ['0x', '0x3\r\nabc\r\n'],
    ['underscore', '1_0\r\n'],
    ['bare LF', '3\nabc\r\n'],
    ['bare CR', '3\rabc\r\n'],
    ['CR CR LF', '3\r\r\nabc\r\n'],
    ['extension with bare LF', '3;a\nabc\r\n'],
    ['extension with bare CR', '3;a\rb\r\nabc\r\n'],
    ['extension with NUL', '3;\0\r\nabc\r\n'],
    ['empty extension', '3;\r\nabc\r\n'],
    ['empty name', '3;=b\r\nabc\r\n'],
    ['empty value', '3;a=;b\r\nabc\r\n'],
    ['two values', '3;a=b=c\r\nabc\r\n'],
    ['quotes', '3;a="b"\r\nabc\r\n'],
    ['extension without size', ';a=b\r\n'],
    ['64 bits and more', '10000000000000003\r\nabc\r\n'],
    ['more digits than can be counted', '00000000000003\r\nabc\r\n'],
    ['longer than it says', '3\r\nabcd\r\n'],
    ['shorter than it says', '3\r\nab\r\n0\r\n\r\n'],
    ['LF alone behind', '3\r\nabc\n0\r\n\r\n'],
    ['CR alone behind', '3\r\nabc\rx'],
    ['bare LF after the last', '0\r\n\n'],
    ['a long extension', `3;${'x'.repeat(HTTP1_LIMITS.chunkLine.value)}\r\nabc\r\n`],
  ]
  for (const [name, body] of BAD) t.ok(eventsOf(CHUNKED + body).includes('HTTP1_MALFORMED'), name)
  const extension = 'x'.repeat(HTTP1_LIMITS.chunkLine.value - 4)
  t.same(eventsOf(`${CHUNKED}3;${extension}\r\nabc\r\n0\r\n\r\n`).slice(1), ['body abc', 'end', 'whole'])
})

t.test('trailers', async (t) => {
  for (const name of [
    'Host',
    'Content-Length',
    'Transfer-Encoding',
    'Connection',
    'Authorization',
    'Trailer',
    'TE',
    'Upgrade',
  ])
    t.match(eventsOf(`${CHUNKED}0\r\n${name}: 1\r\n\r\n`).join(), /HTTP1_|HTTP_TRANSFER/, name)
  for (const line of ['x y: 1', ' x: 1', 'x: \x01'])
    t.ok(eventsOf(`${CHUNKED}0\r\n${line}\r\n\r\n`).includes('HTTP1_MALFORMED'), line)
  const size = HTTP1_LIMITS.trailers.value
  const line = (bytes: number) => `x: ${'y'.repeat(bytes - 'x: \r\n\r\n'.length)}\r\n\r\n`
  t.ok(eventsOf(`${CHUNKED}0\r\n${line(size)}`).includes('end'))
  t.ok(eventsOf(`${CHUNKED}0\r\n${line(size + 1)}`).includes('HTTP_HEADERS_TOO_LARGE'))
})

t.test('heads as large as the limit, and not a byte more, in one piece or many', async (t) => {
  const start = 'GET / HTTP/1.1\r\nHost: a\r\nx: '
  const size = HTTP1_LIMITS.head.value
  const head = (bytes: number) => `${start}${'y'.repeat(bytes - start.length - 4)}\r\n\r\n`
  const pieces = (text: string) => text.match(/.{1,1000}/gs) ?? []
  for (const cut of [(text: string) => [text], pieces]) {
    t.equal(eventsOf(...cut(head(size)))[1], 'end')
    t.equal(eventsOf(...cut(head(size + 1)))[0], 'HTTP_HEADERS_TOO_LARGE')
  }
  t.equal(eventsOf('x'.repeat(size + 1))[0], 'HTTP_HEADERS_TOO_LARGE')
})

t.test('what is not HTTP is seen by its first byte; one empty line may come before a head', async (t) => {
  for (const text of ['\x16\x03\x01', '\0', ' GET', '\n', '\rx', '\r\n\r\n', '\xff'])
    t.equal(eventsOf(text)[0], 'HTTP1_MALFORMED', JSON.stringify(text))
  t.same(eventsOf('\r\n'), ['whole'])
  t.same(eventsOf('\r'), ['half'])
})

t.test('a head in the smallest pieces costs no more than its length', async (t) => {
  const text = `GET / HTTP/1.1\r\nHost: a\r\nx: ${'y'.repeat(60_000)}\r\n\r\n`
  const cpuMs = (run: () => void) => {
    const before = process.cpuUsage()
    run()
    return process.cpuUsage(before).user / 1000
  }
  eventsOf(...text)
  const ms = cpuMs(() => eventsOf(...text))
  t.ok(ms < 500, `${ms} ms`)
})
