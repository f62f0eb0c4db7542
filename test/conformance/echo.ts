// SPDX-License-Identifier: Apache-2.0
// The echo and its client, as programs: what the client prints is what the conformance suite's parser looks for.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { selfSigned } from '../support/echo-image.ts'
import { freePort, runForeign } from '../support/foreign-process.ts'
import { poll } from '../support/mesh-lab.ts'

const program = (name: string): string => join(import.meta.dirname, 'echo', `${name}.ts`)
const [http, https, grpc, tcp] = [await freePort(), await freePort(), await freePort(), await freePort()]
const { certificate, key } = selfSigned()
const files = t.testdir({ crt: certificate, key })
const server = spawn(process.execPath, [
  ...[program('server'), `--port=${http}`, `--port=${https}`, `--grpc=${grpc}`, `--tcp=${tcp}`],
  ...[`--tls=${https}`, `--crt=${files}/crt`, `--key=${files}/key`],
])
t.teardown(() => server.kill())
for (const port of [http, https, grpc, tcp])
  await poll('a port that answers', () => {
    const { promise, resolve } = Promise.withResolvers<true | null>()
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(null))
    return promise.finally(() => socket.destroy())
  })

/** What the suite finds in each answer: the first value of a field, headers aside. */
async function ask(...args: readonly string[]): Promise<{ code: number | null; answers: readonly string[] }> {
  const { code, stdout } = await runForeign(process.execPath, [program('client'), ...args])
  const answers = stdout.toString().split('\n\n')
  return { code, answers: answers.filter((answer) => answer !== '') }
}
const field = (answer: string | undefined, name: string): string | undefined =>
  new RegExp(`${name}=(.*)`).exec(answer ?? '')?.[1]

t.test('a request and what the server saw of it', async (t) => {
  const url = `http://127.0.0.1:${http}/path?query=1`
  const { code, answers } = await ask('--method=PUT', url, '-H', 'X-One:1', '-H', 'Host:echo-v1')
  const [answer = ''] = answers
  t.equal(code, 0)
  t.equal(answers.length, 1)
  t.same(
    ['StatusCode', 'Host', 'URL', 'Method', 'Proto', 'ServicePort', 'Hostname'].map((name) =>
      field(answer, name),
    ),
    ['200', 'echo-v1', '/path?query=1', 'PUT', 'HTTP/1.1', String(http), hostname()],
  )
  t.match(answer, /^\[0 body\] RequestHeader=X-One:1$/m)
  t.match(answer, /^\[0\] ResponseHeader=content-type:text\/plain$/m)
})

t.test('as many answers as were asked for, with empty lines between them', async (t) => {
  const { answers } = await ask(`http://127.0.0.1:${http}/`, '--count=3')
  t.same(
    answers.map((answer) => field(answer, 'StatusCode')),
    ['200', '200', '200'],
  )
})

t.test('a call of gRPC counts as 200', async (t) => {
  const { code, answers } = await ask(`grpc://127.0.0.1:${grpc}`, '--count=2', '-H', 'x-one:1')
  t.equal(code, 0)
  t.same(
    answers.map((answer) => [field(answer, 'StatusCode'), field(answer, 'Hostname')]),
    [
      ['200', hostname()],
      ['200', hostname()],
    ],
  )
  t.match(answers[1], /^\[1 body\] RequestHeader=x-one:1$/m)
})

t.test('the port with TLS speaks HTTP/2', async (t) => {
  const session = connectHttp2(`https://127.0.0.1:${https}`, {
    ca: certificate,
    checkServerIdentity: () => undefined,
  })
  t.teardown(() => session.close())
  const stream = session.request({ ':path': '/secret' })
  const body = await text(stream)
  t.same([field(body, 'Proto'), field(body, 'Alpn'), field(body, 'URL')], ['HTTP/2.0', 'h2', '/secret'])
})

t.test('the port of bytes says who it is, and gives them back', async (t) => {
  const socket = connect(tcp, '127.0.0.1')
  socket.end('bytes')
  const said = await text(socket)
  t.equal(field(said, 'ServicePort'), String(tcp))
  t.ok(said.endsWith('bytes'))
})

t.test('a redirect is an answer, and what somebody else answers has no host name', async (t) => {
  const other = createServer((_, response) => {
    response.writeHead(302, { location: 'http://elsewhere/' }).end('gone\n\nfor good\n')
  }).listen(0)
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo // as: it listens on TCP
  const { answers } = await ask(`http://127.0.0.1:${port}/`)
  t.equal(answers.length, 1)
  t.equal(field(answers[0], 'StatusCode'), '302')
  t.equal(field(answers[0], 'Hostname'), undefined)
  t.match(answers[0], /^\[0\] ResponseHeader=location:http:\/\/elsewhere\/$/m)
})

t.test('what cannot be reached is no answer', async (t) => {
  const { code, answers } = await ask(`http://127.0.0.1:${await freePort()}/`)
  t.same([code, answers], [1, []])
  t.same(await ask(`grpc://127.0.0.1:${await freePort()}`), { code: 1, answers: [] })
})
