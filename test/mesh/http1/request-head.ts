// SPDX-License-Identifier: Apache-2.0
// Which heads are requests and what they say, rule by rule; and the corpus of request smuggling, none of which passes.
import t from 'tap'
import { HTTP1_LIMITS } from '../../../mesh/http1/limits.ts'
import { parseRequestHead } from '../../../mesh/http1/request-head.ts'

/** `lines` joined as a head. */
const read = (...lines: string[]) => parseRequestHead(`${lines.join('\r\n')}\r\n\r\n`, 'http')
const codeOf = (...lines: string[]) => {
  const head = read(...lines)
  return head.kind === 'refusal' ? head.code : 'OK'
}
const HOST = 'Host: a'

t.test('where a request goes', async (t) => {
  const cases: readonly (readonly [string, string, string, string])[] = [
    // request line, Host, authority, path
    ['GET / HTTP/1.1', 'Host: Cart.Shop:8080', 'cart.shop:8080', '/'],
    ['GET /a%20b?c=d&e HTTP/1.1', 'Host: a', 'a', '/a%20b?c=d&e'],
    ['GET //a/../b HTTP/1.1', 'Host: a', 'a', '//a/../b'],
    ['GET /"<>\\^`{|}[] HTTP/1.1', 'Host: a', 'a', '/"<>\\^`{|}[]'],
    ['OPTIONS * HTTP/1.1', 'Host: a', 'a', '*'],
    ['GET http://cart/x HTTP/1.1', 'Host: cart', 'cart', '/x'],
    ['GET HTTP://Cart:80 HTTP/1.1', 'Host: cart:80', 'cart:80', '/'],
    ['GET http://cart?q HTTP/1.1', 'Host: cart', 'cart', '/?q'],
    ['OPTIONS http://cart HTTP/1.1', 'Host: cart', 'cart', '*'],
    ['GET / HTTP/1.1', 'Host: [2001:db8::1]:80', '[2001:db8::1]:80', '/'],
    ['GET / HTTP/1.1', 'Host: \t a_b-c.d~ ', 'a_b-c.d~', '/'],
  ]
  for (const [line, host, authority, path] of cases) {
    const head = read(line, host)
    t.match(head, { kind: 'request' }, line)
    if (head.kind === 'request')
      t.same(head.headers.slice(2, 8), [':scheme', 'http', ':authority', authority, ':path', path])
  }
  t.match(read('CONNECT a:443 HTTP/1.1', 'Host: a:443'), {
    headers: [':method', 'CONNECT', ':authority', 'a:443'],
  })
  t.match(read('GET / HTTP/1.0'), {
    headers: [':method', 'GET', ':scheme', 'http', ':authority', '', ':path', '/'],
  })
})

t.test('request lines that are none', async (t) => {
  const MALFORMED = [
    'GET',
    'GET /',
    'GET / ',
    'GET  / HTTP/1.1',
    'GET /  HTTP/1.1',
    'GET / HTTP/1.1 ',
    ' GET / HTTP/1.1',
    'GET\t/ HTTP/1.1',
    'GET / http/1.1',
    'GET / HTTP/1.1x',
    'GET / HTTP/11',
    'GET / HTTP/1',
    'GET a HTTP/1.1',
    'GET * HTTP/1.1',
    'GET /a b HTTP/1.1',
    'GET /a#b HTTP/1.1',
    'GET /\x7f HTTP/1.1',
    'GET /\xe4 HTTP/1.1',
    'GET /\0 HTTP/1.1',
    'G(T / HTTP/1.1',
    'GET ftp://a/ HTTP/1.1',
    'GET http:///a HTTP/1.1',
    'GET http://u@a/ HTTP/1.1',
    'CONNECT / HTTP/1.1',
    'CONNECT a HTTP/1.1',
    'CONNECT http://a:80 HTTP/1.1',
  ]
  for (const line of MALFORMED) t.equal(codeOf(line, HOST), 'HTTP1_MALFORMED', JSON.stringify(line))
  for (const version of ['0.9', '1.2', '2.0']) t.equal(codeOf(`GET / HTTP/${version}`, HOST), 'HTTP_VERSION')
})

t.test('one host', async (t) => {
  const GET = 'GET / HTTP/1.1'
  t.equal(codeOf(GET), 'HTTP1_HOST')
  t.equal(codeOf(GET, HOST, HOST), 'HTTP1_HOST')
  t.equal(codeOf('GET / HTTP/1.0', HOST, 'host: b'), 'HTTP1_HOST')
  for (const host of [
    '',
    'a b',
    'a,b',
    'u@a',
    'a/b',
    'a:x',
    'a:80:80',
    'a:99999',
    '[::1',
    '::1',
    'a%2eb',
    'ä',
    '[x]',
    ':80',
  ])
    t.equal(codeOf(GET, `Host: ${host}`), 'HTTP1_HOST', host)
  t.equal(codeOf('GET http://a/ HTTP/1.1', 'Host: b'), 'HTTP1_AMBIGUOUS')
  t.equal(codeOf('GET http://a:80/ HTTP/1.1', 'Host: a'), 'HTTP1_AMBIGUOUS')
  t.equal(codeOf('CONNECT a:1 HTTP/1.1', 'Host: a:2'), 'HTTP1_AMBIGUOUS')
})

t.test('request smuggling: nothing of the corpus passes', async (t) => {
  const POST = 'POST / HTTP/1.1'
  const corpus: readonly (readonly [string, string, readonly string[]])[] = [
    ['CL.TE', 'HTTP1_AMBIGUOUS', ['Content-Length: 6', 'Transfer-Encoding: chunked']],
    ['TE.CL', 'HTTP1_AMBIGUOUS', ['Transfer-Encoding: chunked', 'Content-Length: 4']],
    ['CL 0 and TE', 'HTTP1_AMBIGUOUS', ['Content-Length: 0', 'Transfer-Encoding: chunked']],
    ['TE twice', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']],
    ['TE.TE', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: chunked', 'Transfer-encoding: x']],
    ['TE xchunked', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: xchunked']],
    ['TE list', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: chunked, identity']],
    ['TE gzip', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: gzip, chunked']],
    ['TE identity', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: identity']],
    ['TE empty', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding:']],
    ['TE empty element', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: chunked,']],
    ['TE and a tab', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: chunked\t']],
    ['TE quoted', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: "chunked"']],
    ['TE parameter', 'HTTP_TRANSFER_CODING', ['Transfer-Encoding: chunked;a=b']],
    ['TE vertical tab', 'HTTP1_MALFORMED', ['Transfer-Encoding:\x0bchunked']],
    ['TE space before colon', 'HTTP1_MALFORMED', ['Transfer-Encoding : chunked']],
    ['TE tab before colon', 'HTTP1_MALFORMED', ['Transfer-Encoding\t: chunked']],
    ['TE space before name', 'HTTP1_MALFORMED', [' Transfer-Encoding: chunked']],
    ['TE folded', 'HTTP1_MALFORMED', ['Transfer-Encoding:', ' chunked']],
    ['TE after a folded line', 'HTTP1_MALFORMED', ['x: y', '\tz', 'Transfer-Encoding: chunked']],
    ['TE after a bare LF', 'HTTP1_MALFORMED', ['x: y\nTransfer-Encoding: chunked']],
    ['TE after a bare CR', 'HTTP1_MALFORMED', ['x: y\rTransfer-Encoding: chunked']],
    ['TE with a NUL', 'HTTP1_MALFORMED', ['Transfer-Encoding: chunked\0']],
    ['name with a control character', 'HTTP1_MALFORMED', ['Transfer\x01-Encoding: chunked']],
    ['name in brackets', 'HTTP1_MALFORMED', ['[Transfer-Encoding]: chunked']],
    ['no name', 'HTTP1_MALFORMED', [': chunked']],
    ['no colon', 'HTTP1_MALFORMED', ['Transfer-Encoding chunked']],
    ['CL twice', 'HTTP1_AMBIGUOUS', ['Content-Length: 5', 'Content-Length: 6']],
    ['CL twice alike', 'HTTP1_AMBIGUOUS', ['Content-Length: 5', 'content-length: 5']],
    ['CL list', 'HTTP1_AMBIGUOUS', ['Content-Length: 5, 5']],
    ['CL signed', 'HTTP1_AMBIGUOUS', ['Content-Length: +5']],
    ['CL negative', 'HTTP1_AMBIGUOUS', ['Content-Length: -1']],
    ['CL hexadecimal', 'HTTP1_AMBIGUOUS', ['Content-Length: 0x10']],
    ['CL empty', 'HTTP1_AMBIGUOUS', ['Content-Length:']],
    ['CL with a space', 'HTTP1_AMBIGUOUS', ['Content-Length: 1 0']],
    ['CL underscore', 'HTTP1_AMBIGUOUS', ['Content-Length: 1_0']],
    ['CL exponent', 'HTTP1_AMBIGUOUS', ['Content-Length: 1e1']],
    ['CL too large', 'HTTP1_AMBIGUOUS', ['Content-Length: 9007199254740993']],
    ['CL overflow', 'HTTP1_AMBIGUOUS', ['Content-Length: 18446744073709551621']],
    [
      'Connection takes the length',
      'HTTP1_AMBIGUOUS',
      ['Content-Length: 5', 'Connection: close, content-length'],
    ],
    ['Connection takes the host', 'HTTP1_AMBIGUOUS', ['Connection: Host']],
    ['Connection takes the token', 'HTTP1_AMBIGUOUS', ['Authorization: x', 'Connection: authorization']],
    ['Connection is no list', 'HTTP1_MALFORMED', ['Connection: a b']],
  ]
  for (const [name, code, lines] of corpus) t.equal(codeOf(POST, HOST, ...lines), code, name)
  t.equal(codeOf('POST / HTTP/1.0', HOST, 'Transfer-Encoding: chunked'), 'HTTP1_AMBIGUOUS', 'TE in HTTP/1.0')
  t.equal(
    codeOf('CONNECT a:1 HTTP/1.1', 'Host: a:1', 'Content-Length: 5'),
    'HTTP1_AMBIGUOUS',
    'CONNECT with a body',
  )
})

t.test('how long a body is', async (t) => {
  const body = (...lines: string[]) => {
    const head = read('POST / HTTP/1.1', HOST, ...lines)
    return head.kind === 'request' ? head.body : head
  }
  t.same(body(), { kind: 'none' })
  t.same(body('content-length: 0'), { kind: 'none' })
  t.same(body('Content-Length: \t0012 '), { kind: 'bytes', bytes: 12 })
  t.same(body('TRANSFER-ENCODING: Chunked'), { kind: 'chunked' })
  t.same(body('Content-Length: 9007199254740991'), { kind: 'bytes', bytes: Number.MAX_SAFE_INTEGER })
})

t.test('fields: names in lower case, values as they are, those of the connection left out', async (t) => {
  const head = read(
    'GET / HTTP/1.1',
    ...[
      'hOST: a',
      'ETag: "x"',
      'X-Empty:',
      'x-b:\t a  b\t ',
      'X-Latin: \xe4',
      'TE: gzip, trailers',
      'Keep-Alive: 5',
    ],
    ...[
      'Proxy-Connection: close',
      'Connection: x-hop, Keep-Alive,, close',
      'X-Hop: 1',
      'Cookie: a=b',
      'Cookie: c=d',
    ],
  )
  if (head.kind !== 'request') throw new Error(head.detail)
  t.same(head.headers.slice(8), [
    ...['etag', '"x"', 'x-empty', '', 'x-b', 'a  b', 'x-latin', '\xe4', 'cookie', 'a=b', 'cookie', 'c=d'],
    ...['te', 'trailers'],
  ])
  t.equal(head.isKeptAlive, false)
})

t.test('whether the connection may be used again, and what it would become', async (t) => {
  const facts = (version: string, ...lines: string[]) => {
    const head = read(`GET / HTTP/${version}`, HOST, ...lines)
    return head.kind === 'request' ? `${head.isKeptAlive} ${head.isOld} ${head.upgrade}` : head.code
  }
  t.equal(facts('1.1'), 'true false ')
  t.equal(facts('1.1', 'Connection: CLOSE'), 'false false ')
  t.equal(facts('1.0'), 'false true ')
  t.equal(facts('1.0', 'Connection: keep-alive'), 'true true ')
  t.equal(facts('1.0', 'Connection: keep-alive, close'), 'false true ')
  t.equal(facts('1.1', 'Connection: upgrade', 'Upgrade: websocket'), 'true false websocket')
  t.equal(facts('1.1', 'Upgrade: websocket'), 'true false ', 'Connection does not name it')
  t.equal(facts('1.0', 'Connection: upgrade', 'Upgrade: websocket'), 'false true ')
  t.equal(facts('1.1', 'Connection: upgrade', 'Upgrade: websocket, h2c'), 'true false ')
  t.equal(facts('1.1', 'Connection: upgrade', 'Upgrade: websocket', 'Content-Length: 3'), 'true false ')
})

t.test('as many fields as the limit says', async (t) => {
  const fields = (count: number) => Array.from({ length: count }, (_, index) => `x-${index}: 1`)
  t.equal(codeOf('GET / HTTP/1.1', HOST, ...fields(HTTP1_LIMITS.fields.value - 1)), 'OK')
  t.equal(codeOf('GET / HTTP/1.1', HOST, ...fields(HTTP1_LIMITS.fields.value)), 'HTTP_HEADERS_TOO_LARGE')
})
