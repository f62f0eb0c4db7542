// SPDX-License-Identifier: Apache-2.0
// Asks as the conformance suite says, from inside of a pod, and prints what it parses (its utils/echo): a block of lines per
// answer, an empty line after each. usage: client URL [--method=GET] [-H name:value]… [--count=1]; redirects are not followed.
import { Agent, type IncomingMessage, request } from 'node:http'
import { parseArgs } from 'node:util'
import { type Answer, headerPairs } from './fields.ts'

const DEADLINE_MS = 5000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    method: { type: 'string', default: 'GET' },
    header: { type: 'string', short: 'H', multiple: true, default: [] as string[] },
    count: { type: 'string', default: '1' },
  },
})
const url = new URL(positionals[0] ?? '')
const headers = values.header.map((text): [string, string] => {
  const colon = text.indexOf(':')
  return [text.slice(0, colon), text.slice(colon + 1)]
})

/** Requests one after the other, on one connection. */
function overHttp(): () => Promise<Answer> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const signal = (): AbortSignal => AbortSignal.timeout(DEADLINE_MS)
  return async () => {
    const options = { agent, method: values.method, headers: Object.fromEntries(headers), signal: signal() }
    const response = await new Promise<IncomingMessage>((resolve, reject) =>
      request(url, options, resolve).on('error', reject).end(),
    )
    let body = ''
    for await (const chunk of response.setEncoding('utf8')) body += chunk
    return { status: response.statusCode ?? 0, headers: headerPairs(response.rawHeaders), body }
  }
}

if (url.protocol !== 'http:' && url.protocol !== 'grpc:') throw new Error(`no client of ${url.protocol}`)
const ask =
  url.protocol === 'grpc:'
    ? (await import('./grpc-client.ts')).overGrpc(url, headers, DEADLINE_MS)
    : overHttp()
const blocks: string[] = []
for (let index = 0; index < Number(values.count); index++) {
  const { status, headers, body } = await ask()
  const lines = [
    `[${index}] Url=${url.href}`,
    `[${index}] StatusCode=${status}`,
    ...headers.map(([name, value]) => `[${index}] ResponseHeader=${name}:${value}`),
    ...body.split('\n').flatMap((line) => (line === '' ? [] : [`[${index} body] ${line}`])),
  ]
  blocks.push(`${lines.join('\n')}\n\n`)
}
process.stdout.write(blocks.join(''), () => process.exit(0))
