// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import {
  AccessFormat,
  DEFAULT_ACCESS_FORMAT,
  MAX_FORMAT_CHARS,
  openFormat,
} from '../../../waypoint/records/access-format.ts'
import { OPERATOR_NAMES } from '../../../waypoint/records/access-operators.ts'
import type { LoggedRequest } from '../../../waypoint/records/logged-request.ts'
import { loggedRequest, loggedSource } from '../../support/logged.ts'

function written(format: string, changes: Partial<LoggedRequest> = {}, source = loggedSource()): string {
  const parsed = AccessFormat.parse(format)
  return typeof parsed === 'string' ? `MISTAKE ${parsed}` : parsed.line(source, loggedRequest(changes))
}

t.test('the default is Istio’s line', async (t) => {
  t.equal(
    written(DEFAULT_ACCESS_FORMAT),
    '[2026-01-02T03:04:05.006Z] "GET /items?token=1 HTTP/1.1" 200 - via_upstream - "-" 3 5 12 8 "10.1.0.1" "curl/8" ' +
      '"id-1" "web" "10.2.0.1:8080" shop/web.shop.svc.cluster.local|80| - 10.96.0.30:80 10.1.0.1:0 - ' +
      'HTTPRoute shop/web[0]',
  )
})

t.test('a refused request has the code of its reason where Envoy has its details', async (t) => {
  const line = written(DEFAULT_ACCESS_FORMAT, {
    ...{ reason: { code: 'ROUTE_NOT_FOUND', detail: '/x' }, status: 404, endpoint: null, known: null },
    ...{ sentMs: Number.NaN, answeredMs: Number.NaN, route: '' },
  })
  t.match(line, / 404 NR ROUTE_NOT_FOUND - "-" 3 5 12 - /)
  t.match(line, / "-" - - 10\.96\.0\.30:80 10\.1\.0\.1:0 - -$/)
})

t.test('commands, each with what stands in its brackets', async (t) => {
  const grpc = { grpcStatus: 5 }
  for (const [format, expected, changes] of [
    ['%%', '%', {}],
    ['100%% of %RESPONSE_CODE%%%', '100% of 200%', {}],
    ['%REQ(:METHOD):2%', 'GE', {}],
    ['%REQ(X-NONE?USER-AGENT)%', 'curl/8', {}],
    ['%REQ(X-NONE?x-neither)%', '-', {}],
    ['%RESP(server)%', 'cart', {}],
    ['%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%', '2026/01/02T03:04:05+0000 1767323045', {}],
    ['%START_TIME(%F %T.%3f)%', '2026-01-02 03:04:05.006', {}],
    ['%GRPC_STATUS%', 'NotFound', grpc],
    ['%GRPC_STATUS(SNAKE_STRING)%', 'NOT_FOUND', grpc],
    ['%GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%', '5 5', grpc],
    ['%GRPC_STATUS%', '-', {}],
    ['%RESPONSE_DURATION%+%RESPONSE_TX_DURATION%', '9+3', {}],
    ['%DOWNSTREAM_PEER_URI_SAN%', 'spiffe://cluster.local/ns/shop/sa/front', {}],
    ['%UPSTREAM_REQUEST_ATTEMPT_COUNT%%BYTES_SENT%', '15', {}],
    ['a\n', 'a', {}],
  ] as const)
    t.equal(written(format, changes), expected, format)
})

t.test('a mistake in a format is said at the start, with what is wrong', async (t) => {
  for (const [format, mistake] of [
    ['%NONE%', /%NONE%, which is not known/],
    ['%DYNAMIC_METADATA(a:b)%', /which is not known/],
    ['%constructor%', /no command/],
    ['%REQ%', /name of a header/],
    ['%REQ(a b)%', /name of a header/],
    ['%REQ(a?b?c)%', /name of a header/],
    ['%DURATION(x)%', /nothing in brackets/],
    ['%GRPC_STATUS(x)%', /CAMEL_STRING/],
    ['%START_TIME(%q)%', /not %q/],
    ['%RESPONSE_CODE', /no end of the command/],
    ['%REQ(a%', /no end of the command/],
    ['%REQ(a):0%', /no command/],
    ['a\nb', /control characters/],
    ['\u0001', /control characters/],
    ['x'.repeat(MAX_FORMAT_CHARS + 1), /longer than/],
  ] as const)
    t.match(written(format), mistake, format.slice(0, 40))
  t.throws(() => openFormat('text', '%NONE%'))
  t.equal(openFormat('off', ''), 'off')
})

t.test('every command can be written, of a connection too', async (t) => {
  for (const name of OPERATOR_NAMES) {
    const args = name === 'REQ' || name === 'RESP' ? '(x)' : ''
    const line = written(`%${name}${args}%`, { headers: [] }, loggedSource({ version: null }))
    t.match(line, /^(?!MISTAKE)[ -~]+$/, name)
  }
})

t.test('the page of waypoints names every command, and no other', async (t) => {
  const page = readFileSync(new URL('../../../docs/waypoints.md', import.meta.url), 'utf8')
  const [, list = ''] =
    /A format has Envoy’s commands.*?: (.*?)\. Any other/s.exec(page.replaceAll("'", '’')) ?? []
  t.same([...list.matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name).toSorted(), OPERATOR_NAMES)
})

t.test('nobody forges a field or a line, nor the path that Envoy would have rewritten', async (t) => {
  const format = '"%REQ(USER-AGENT)%" "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%" "%REQ(X-FORWARDED-FOR)%"'
  const line = written(format, {
    headers: [
      ...[':path', '/real', 'x-envoy-original-path', '/forged', 'user-agent', 'a" "b\n\x7f\xff\\'],
      ...['x-forwarded-for', '1.2.3.4'],
    ],
  })
  t.equal(line, '"a\\x22 \\x22b\\x0a\\x7f\\xff\\x5c" "/real" "1.2.3.4,10.1.0.1"')
})

t.test('whatever a format is, reading it ends in a line or a text', async () => {
  const piece = fc.constantFrom('%', '(', ')', ':', '5', 'REQ', 'a', '?', 'START_TIME', '%%', ' ')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const line = written(pieces.join(''))
      return line.startsWith('MISTAKE has ') || /^[ -~]*$/.test(line)
    }),
  )
})
