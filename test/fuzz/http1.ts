// SPDX-License-Identifier: Apache-2.0
// Our reading of HTTP/1.1 against that of Node's own parser, over real sockets: what we accept Node reads as the same messages,
// so what the two read differently is refused by us. FUZZ_SECONDS: how long; FUZZ_SEED: the run to repeat.
import { once } from 'node:events'
import { createServer, type IncomingMessage, METHODS as NODE_METHODS, request } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net'
import t from 'tap'
import { type Message, readRequests, readResponse } from '../support/http1-reading.ts'

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 4)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000)
const CONNECTIONS = 16
t.setTimeout((SECONDS + 30) * 1000)

/** Mulberry32: the same numbers for the same seed. */
class Random {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T // as: the index is below the length, which is never 0
  }
  /** Mostly one of the first, which are right; now and then any. */
  mostly<T>(right: number, choices: readonly T[]): T {
    return this.of(this.below(8) > 0 ? choices.slice(0, right) : choices)
  }
}

// What is right comes first: most of a message is right and one thing is not.
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'get', 'G ET']
const TARGETS = [
  '/',
  '/a?b=c',
  '/a',
  '/%20',
  '*',
  'http://a/x',
  '//x',
  '/a#b',
  '/\xe9',
  '/a b',
  '',
  '/<>"`{}|\\^',
  'a',
]
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'http/1.1',
  'HTTP/1.1 ',
]
const ENDS = ['\r\n', '\n', '\r', '\r\r\n', '\n\r\n', '\r\n ']
const FIELDS = [
  ...[
    'x: 1',
    'X-Y:z',
    'x-empty:',
    'x: \t a  b \t',
    'x: \xe9',
    'Cookie: a=b',
    'TE: trailers',
    'Connection: keep-alive',
  ],
  ...['Content-Length: 3', 'content-length:3', 'Transfer-Encoding: chunked', 'transfer-encoding:CHUNKED'],
  ...[
    'Connection: close',
    'x : 1',
    ' x: 1',
    '\tx: 1',
    'x\x01: 1',
    'x: \x01',
    'x: \0',
    'x',
    ': 1',
    'x: a\x7fb',
    'x@y: 1',
  ],
  ...[
    'Content-Length: 0',
    'Content-Length: +3',
    'Content-Length: 3 ',
    'Content-Length: 03',
    'Content-Length: 3\x0b',
  ],
  ...[
    'Content-Length: 3, 3',
    'Content-Length: 0x3',
    'Content-Length : 3',
    'Content-Length:',
    'Expect: 200-ok',
  ],
  ...[
    'Content-Length: 18446744073709551619',
    'Content-Length: -1',
    'Content-Length: 3 3',
    'Transfer-Encoding: gzip',
  ],
  ...['Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: chunked, gzip', 'Transfer-Encoding:'],
  ...['Transfer-Encoding: \x0bchunked', 'Transfer-Encoding: chunked,', 'Transfer-Encoding : chunked'],
  ...['Transfer-Encoding: chunked;x', 'Transfer-Encoding: "chunked"', 'Transfer-Encoding: chunked\t'],
  ...[
    'Host: b',
    'Connection: content-length',
    'Connection: transfer-encoding',
    'Connection: x',
    'Trailer: x',
  ],
]
const HOSTS = ['Host: a', 'Host: a', 'Host: a', 'host:a:80', 'Host: [::1]', 'Host: a, b', 'Host:', 'x: 1']
const SECOND = 'GET /second HTTP/1.1\r\nHost: a\r\n\r\n'
const BODIES = [
  ...['', '', 'abc', `abc${SECOND}`, '3\r\nabc\r\n0\r\n\r\n', `3\r\nabc\r\n0\r\n\r\n${SECOND}`, '0\r\n\r\n'],
  ...[
    '03;x=y\r\nabc\r\n00\r\nx-t: 1\r\n\r\n',
    'ab',
    'abcd',
    '3 ;x\r\nabc\r\n0\r\n\r\n',
    '3 \r\nabc\r\n0\r\n\r\n',
  ],
  ...['+3\r\nabc\r\n0\r\n\r\n', '0x3\r\nabc\r\n0\r\n\r\n', '3\nabc\r\n0\r\n\r\n', '3\r\nabc\n0\r\n\r\n'],
  ...[
    '3\r\nabcd\r\n0\r\n\r\n',
    '3;\n\r\nabc\r\n0\r\n\r\n',
    '3;"a\r\n"\r\nabc\r\n0\r\n\r\n',
    '3\r\nabc\r\n0\n\n',
  ],
  ...[
    '3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n',
    '3\r\nabc\r\n0\r\n x: 1\r\n\r\n',
    'g\r\n',
    '-3\r\nabc\r\n0\r\n\r\n',
  ],
  ...['100000000000000003\r\nabc\r\n0\r\n\r\n', '3;\x01\r\nabc\r\n0\r\n\r\n', '3;\r\nabc\r\n0\r\n\r\n'],
]
const STATUS_LINES = [
  ...[
    'HTTP/1.1 200 OK',
    'HTTP/1.1 200 OK',
    'HTTP/1.1 200',
    'HTTP/1.1 204 x',
    'HTTP/1.1 304 x',
    'HTTP/1.0 200 OK',
    'HTTP/1.1 404 \xe9',
  ],
  ...[
    'HTTP/1.1  200 OK',
    'HTTP/1.1 20 x',
    'HTTP/1.1 2000 x',
    'HTTP/2.0 200 x',
    'http/1.1 200 OK',
    'HTTP/1.1 200 O\0K',
    'HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 OK',
  ],
]

/** A message of parts that are right or nearly so, and then perhaps a byte that is another one. */
function message(random: Random, isRequest: boolean): string {
  const fields = Array.from({ length: random.below(4) }, () => random.mostly(12, FIELDS))
  const line = isRequest
    ? `${random.mostly(6, METHODS)} ${random.mostly(4, TARGETS)} ${random.mostly(2, VERSIONS)}`
    : random.mostly(6, STATUS_LINES)
  const lines = isRequest ? [line, random.mostly(3, HOSTS), ...fields] : [line, ...fields]
  let text = random.below(20) === 0 ? '\r\n' : ''
  for (const each of lines) text += each + random.mostly(1, ENDS)
  text += random.mostly(1, ENDS) + random.mostly(8, BODIES)
  if (random.below(3) > 0) return text
  const at = random.below(text.length)
  const byte = String.fromCharCode(
    random.of([0, 9, 10, 11, 13, 32, 34, 44, 58, 59, 127, 128, 255, random.below(256)]),
  )
  return text.slice(0, at) + byte + text.slice(at + random.below(2))
}

/** As both sides give them: what is ours to read or hop-by-hop is left out. */
function fieldsOf(message: IncomingMessage): readonly string[] {
  const OWN = /^(?:host|connection|keep-alive|proxy-connection|transfer-encoding|upgrade|te|http2-settings)$/i
  const named = new Set((message.headers.connection ?? '').toLowerCase().split(/[ \t]*,[ \t]*/))
  const kept: string[] = []
  for (let i = 0; i < message.rawHeaders.length; i += 2) {
    const name = (message.rawHeaders[i] ?? '').toLowerCase()
    if (!OWN.test(name) && !named.has(name)) kept.push(name, message.rawHeaders[i + 1] ?? '')
  }
  return kept
}

async function bodyOf(message: IncomingMessage): Promise<string | null> {
  try {
    const chunks: Buffer[] = []
    for await (const chunk of message) chunks.push(chunk)
    return message.complete ? Buffer.concat(chunks).toString('latin1') : null
  } catch {
    return null
  }
}

/** One message each way of reading it, until `SECONDS` are over; `compare` fails the test. */
async function compareAll(
  isRequest: boolean,
  compare: (text: string) => Promise<string>,
): Promise<Map<string, number>> {
  const outcomes = new Map<string, number>()
  const random = new Random(SEED + (isRequest ? 0 : 1))
  const end = performance.now() + (SECONDS * 1000) / 2
  const one = async () => {
    while (performance.now() < end) {
      const outcome = await compare(message(random, isRequest))
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, one))
  return outcomes
}

/** What Node made of a message; null: it is not whole. */
async function theirs(message: IncomingMessage, line: string): Promise<Message | null> {
  const fields = fieldsOf(message)
  const body = await bodyOf(message)
  if (body === null) return null
  const trailers = message.rawTrailers.map((each, index) => (index % 2 === 0 ? each.toLowerCase() : each))
  return { line, fields, body, trailers }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port // as: it listens on TCP
}

/** 'alike', or why there is nothing to compare; throws with the message when Node reads it as another one. */
function verdict(text: string, ours: readonly Message[], node: readonly (Message | null)[]): string {
  if (ours.length === 0) return 'refused'
  if (JSON.stringify(node.slice(0, ours.length)) === JSON.stringify(ours)) return 'alike'
  throw new Error(JSON.stringify({ seed: SEED, text, ours, node }, null, 1))
}

t.test('requests: what we accept Node reads as we do', async (t) => {
  const read = new Map<number, Promise<Message | null>[]>()
  const server = createServer({ maxHeaderSize: 100_000 })
  const onRequest = (message: IncomingMessage, answer: { end(): void }) => {
    const path = (message.url ?? '').replace(/^http:\/\/[^/?]*/i, '')
    const one = theirs(message, `${message.method} ${path === '' ? '/' : path}`)
    read.get(message.socket.remotePort ?? 0)?.push(one)
    void one.then(() => answer.end())
  }
  server.on('request', onRequest).on('checkExpectation', onRequest)
  const port = await listen(server)
  t.teardown(() => void server.close())
  const outcomes = await compareAll(true, async (text) => {
    const ours = readRequests(text)
    if (ours.some(({ line }) => !NODE_METHODS.includes(line.split(' ')[0] ?? '')))
      return 'a method Node lacks'
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    const got: Promise<Message | null>[] = []
    const localPort = socket.localPort ?? 0
    read.set(localPort, got)
    socket.on('error', () => {}).resume()
    socket.end(text, 'latin1')
    if (!socket.closed) await once(socket, 'close')
    const node = await Promise.all(got)
    read.delete(localPort)
    return verdict(text, ours, node)
  })
  const counts = JSON.stringify([...outcomes])
  t.comment(`seed ${SEED}: ${counts}`)
  t.ok((outcomes.get('alike') ?? 0) > 20, counts)
  t.ok((outcomes.get('refused') ?? 0) > 20, counts)
})

t.test('answers: what we accept Node reads as we do', async (t) => {
  const texts = new Map<string, string>()
  const server = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (asked) => {
      const id = /^GET \/(\d+) /.exec(asked.toString('latin1'))?.[1] ?? ''
      socket.end(texts.get(id) ?? '', 'latin1')
    })
  })
  const port = await listen(server)
  t.teardown(() => void server.close())
  let next = 0
  const outcomes = await compareAll(false, async (text) => {
    const ours = readResponse(text)
    const id = String(next++)
    texts.set(id, text)
    const node = await new Promise<Message | null>((resolve) => {
      const asked = request({ port, host: '127.0.0.1', path: `/${id}`, agent: false, maxHeaderSize: 100_000 })
      asked.on('response', (message) => void theirs(message, String(message.statusCode)).then(resolve))
      asked.on('error', () => resolve(null)).on('upgrade', () => resolve(null))
      asked.end()
    })
    texts.delete(id)
    return verdict(text, ours, [node])
  })
  const counts = JSON.stringify([...outcomes])
  t.comment(`seed ${SEED}: ${counts}`)
  t.ok((outcomes.get('alike') ?? 0) > 20, counts)
  t.ok((outcomes.get('refused') ?? 0) > 20, counts)
})
