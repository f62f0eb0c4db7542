// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { openCollector, type PostOutcome } from '../../../mesh/tracing/post-spans.ts'

/** A collector that answers so. */
async function collector(t: Test, answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}` // as: TCP
}

const never = new AbortController().signal
const post = async (endpoint: string, signal = never): Promise<PostOutcome> =>
  await (await openCollector(endpoint))('{"é":1}', signal)

t.test('one POST below the endpoint, with its length in bytes', async (t) => {
  const seen: unknown[] = []
  const endpoint = await collector(t, async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    const { 'content-type': type, 'content-length': length } = request.headers
    seen.push([request.method, request.url, type, length, body])
    response.end('{}')
  })
  for (const base of ['', '/', '/otlp', '/otlp/'])
    t.same(await post(`${endpoint}${base}`), { kind: 'taken', rejectedCount: 0 })
  const expected = (path: string) => ['POST', path, 'application/json', '8', '{"é":1}']
  t.same(seen, ['/v1/traces', '/v1/traces', '/otlp/v1/traces', '/otlp/v1/traces'].map(expected))
})

t.test('what an answer means', async (t) => {
  for (const [status, body, expected] of [
    [200, '', { kind: 'taken', rejectedCount: 0 }],
    [
      202,
      '{"partialSuccess":{"rejectedSpans":"3","errorMessage":"old"}}',
      { kind: 'taken', rejectedCount: 3 },
    ],
    [200, '{"partialSuccess":{"rejectedSpans":2}}', { kind: 'taken', rejectedCount: 2 }],
    [400, 'no JSON', { kind: 'refused', detail: '400 no JSON' }],
    [404, '', { kind: 'refused', detail: '404' }],
    [429, '', { kind: 'failed', detail: '429' }],
    [503, 'later', { kind: 'failed', detail: '503 later' }],
    [500, 'x'.repeat(1000), { kind: 'refused', detail: `500 ${'x'.repeat(200)}` }],
  ] as const) {
    const endpoint = await collector(t, (_, response) => response.writeHead(status).end(body))
    t.same(await post(endpoint), expected, `${status}`)
  }
})

t.test('a collector that is dead, stalls, breaks off or does not stop is a failure', async (t) => {
  t.match(await post('http://127.0.0.1:1'), { kind: 'failed', detail: /ECONNREFUSED/ })
  const stalled = await collector(t, () => {})
  t.match(await post(stalled, AbortSignal.timeout(50)), { kind: 'failed' })
  const begun = await collector(t, (_, response) => response.writeHead(200).write('{'))
  t.match(await post(begun, AbortSignal.timeout(50)), { kind: 'failed' })
  const broken = await collector(t, (_, response) =>
    response.writeHead(200).write('{', () => response.destroy()),
  )
  t.match(await post(broken), { kind: 'failed' })
  const endless = await collector(t, (_, response) => {
    const more = (): void => void response.write('x'.repeat(10_000), more)
    more()
  })
  t.match(await post(endless), { kind: 'failed', detail: /more than 65536 bytes/ })
})
