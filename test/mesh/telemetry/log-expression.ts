// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  type ExpressionFacts,
  MAX_EXPRESSION_CHARS,
  parseLogExpression,
} from '../../../mesh/telemetry/log-expression.ts'
import { startCpuTime } from '../../support/cpu-time.ts'

const FACTS: ExpressionFacts = {
  number: (name) => ({ 'response.code': 503, 'request.size': 10 })[name as 'response.code'], // as: others are undefined
  text: (name) =>
    ({ 'request.method': 'GET', 'request.url_path': '/v1/items', 'source.principal': 'spiffe://x' })[
      name as 'request.method' // as: as above
    ],
  header: (of, name) => (of === 'request' && name === 'x-a' ? 'it\'s "b"' : undefined),
}

function asked(text: string): boolean | string {
  const expression = parseLogExpression(text)
  return typeof expression === 'string' ? expression : expression(FACTS)
}

t.test('expressions as people write them', async (t) => {
  for (const [text, expected] of [
    ['response.code >= 400', true],
    ['response.code < 400', false],
    ['400 <= response.code && response.code <= 502', false],
    ['response.code == 503 || response.code == 404', true],
    ['response.code != 503', false],
    ['connection.mtls && request.url_path.contains("v1")', true],
    ['connection.mtls == false', false],
    ["request.url_path.startsWith('/v1/') && !(request.method == 'POST')", true],
    ['request.url_path.endsWith("/items")', true],
    ['!request.url_path.startsWith("/v1")', false],
    ["request.headers['X-A'] == 'it\\'s \"b\"'", true],
    ['has(request.headers["x-b"])', false],
    ['has(response.code) && response.code > 500', true],
    ['!has(response.grpc_status)', true],
    ['response.grpc_status != 0', false],
    ["response.headers['server'] != 'x'", false],
    ['false || true', true],
    ['true && false || true', true],
    ['true || false && false', true],
    ['  response.code>=400  ', true],
    ['"GET" == request.method', true],
  ] as const)
    t.equal(asked(text), expected, text)
})

t.test('what is not understood is named', async (t) => {
  for (const [text, mistake] of [
    ['', /ends too early/],
    ['response.code', /a comparison is expected/],
    ['response.code >= "400"', /two types/],
    ['request.method > "A"', /numbers only/],
    ['response.duration > 5', /response\.duration is not known/],
    ['request.constructor == "a"', /is not known/],
    ['request.method.matches("a")', /matches is not known/],
    ['request.method.toString("a")', /toString is not known/],
    ['response.code >= 400 response.code', /nothing is expected/],
    ['(response.code >= 400', /ends too early/],
    ['response.code >= 400 &', /not understood at character 21/],
    ['response.code >= -1', /not understood/],
    ['"a\nb" == "c"', /not understood/],
    ['request.headers[x] == "a"', /in quotes/],
    [`${'!'.repeat(100)}true`, /too many brackets/],
    [`${'('.repeat(100)}true`, /too many brackets/],
    [`true${' '.repeat(MAX_EXPRESSION_CHARS)}`, /longer than/],
  ] as const)
    t.match(asked(text), mistake, text.slice(0, 60))
})

t.test('whatever is written is an expression or a text, in time', async (t) => {
  const piece = fc.constantFrom(
    ...['response.code', 'request.method', '(', ')', '!', '&&', '||', '==', '>=', '400', '"a"', '.', '['],
    ...['has', 'contains', "'", '\\', 'true', ' '],
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) =>
      ['boolean', 'string'].includes(typeof asked(pieces.join(''))),
    ),
  )
  const cpuMs = startCpuTime()
  asked('"'.padEnd(MAX_EXPRESSION_CHARS, '\\"'))
  t.ok(cpuMs() < 500)
})
