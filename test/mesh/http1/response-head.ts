// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseResponseHead } from '../../../mesh/http1/response-head.ts'

const read = (method: string, ...lines: string[]) =>
  parseResponseHead(`${lines.join('\r\n')}\r\n\r\n`, method)
const OK = 'HTTP/1.1 200 OK'

t.test('status lines', async (t) => {
  for (const line of [OK, 'HTTP/1.1 200 ', 'HTTP/1.1 200', 'HTTP/1.1 200 any \xe4 thing', 'HTTP/1.0 200 OK'])
    t.match(read('GET', line), { kind: 'response', status: 200, headers: [':status', '200'] }, line)
  const MALFORMED = [
    ...[
      'HTTP/1.1',
      'HTTP/1.1 20 OK',
      'HTTP/1.1 2000 OK',
      'HTTP/1.1 099 x',
      'HTTP/1.1 600 x',
      'HTTP/1.1 2x0 OK',
    ],
    ...[
      'HTTP/1.1  200 OK',
      'http/1.1 200 OK',
      'HTTP/2.0 200 OK',
      'ICY 200 OK',
      'HTTP/1.1 200 O\0K',
      ' HTTP/1.1 200 OK',
    ],
  ]
  for (const line of MALFORMED) t.match(read('GET', line), { code: 'HTTP1_MALFORMED' }, line)
  t.match(read('GET', 'HTTP/1.9 200 OK'), { code: 'HTTP_VERSION' })
})

t.test('how long the body of an answer is', async (t) => {
  const cases: readonly (readonly [string, string, readonly string[], unknown])[] = [
    ['GET', '200', [], { kind: 'until-close' }],
    ['GET', '200', ['Content-Length: 0'], { kind: 'none' }],
    ['GET', '200', ['Content-Length: 7'], { kind: 'bytes', bytes: 7 }],
    ['GET', '200', ['Transfer-Encoding: chunked'], { kind: 'chunked' }],
    ['HEAD', '200', ['Content-Length: 7'], { kind: 'none' }],
    ['HEAD', '200', ['Transfer-Encoding: chunked'], { kind: 'none' }],
    ['GET', '304', ['Content-Length: 7'], { kind: 'none' }],
    ['GET', '204', [], { kind: 'none' }],
    ['GET', '204', ['Content-Length: 0'], { kind: 'none' }],
    ['GET', '100', [], { kind: 'none' }],
    ['CONNECT', '200', [], { kind: 'none' }],
    ['CONNECT', '403', ['Content-Length: 7'], { kind: 'bytes', bytes: 7 }],
  ]
  for (const [method, status, lines, body] of cases) {
    const head = read(method, `HTTP/1.1 ${status} x`, ...lines)
    t.same(head.kind === 'response' ? head.body : head, body, `${method} ${status} ${lines}`)
  }
})

t.test('answers that two readers could take for two', async (t) => {
  const AMBIGUOUS: readonly (readonly string[])[] = [
    [OK, 'Content-Length: 5', 'Transfer-Encoding: chunked'],
    [OK, 'Content-Length: 5', 'Content-Length: 5'],
    [OK, 'Content-Length: 5x'],
    ['HTTP/1.0 200 OK', 'Transfer-Encoding: chunked'],
    ['HTTP/1.1 204 x', 'Transfer-Encoding: chunked'],
    ['HTTP/1.1 204 x', 'Content-Length: 5'],
    ['HTTP/1.1 100 x', 'Content-Length: 5'],
  ]
  for (const lines of AMBIGUOUS)
    t.match(read('GET', ...lines), { code: 'HTTP1_AMBIGUOUS' }, lines.join(' | '))
  t.match(read('GET', OK, 'Transfer-Encoding: gzip, chunked'), { code: 'HTTP_TRANSFER_CODING' })
  t.match(read('GET', OK, 'x : y'), { code: 'HTTP1_MALFORMED' })
  t.match(
    read('GET', 'HTTP/1.1 101 x', 'Upgrade: websocket'),
    { code: 'HTTP1_MALFORMED' },
    'Connection does not name it',
  )
})

t.test('reuse, and what a connection has become', async (t) => {
  const facts = (...lines: string[]) => {
    const head = read('GET', ...lines)
    return head.kind === 'response' ? `${head.isKeptAlive} ${head.upgrade}` : head.code
  }
  t.equal(facts(OK, 'Content-Length: 1'), 'true ')
  t.equal(facts(OK), 'false ', 'until the end of the connection')
  t.equal(facts(OK, 'Content-Length: 1', 'Connection: close'), 'false ')
  t.equal(facts('HTTP/1.0 200 OK', 'Content-Length: 1'), 'false ')
  t.equal(facts('HTTP/1.0 200 OK', 'Content-Length: 1', 'Connection: keep-alive'), 'true ')
  t.equal(facts('HTTP/1.1 101 x', 'Connection: Upgrade', 'Upgrade: websocket'), 'true websocket')
  t.equal(facts(OK, 'Content-Length: 1', 'Connection: Upgrade', 'Upgrade: h2,h2c'), 'true ')
})
