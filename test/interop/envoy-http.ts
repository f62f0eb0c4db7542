// SPDX-License-Identifier: Apache-2.0
// Envoy as client of and as upstream behind the codecs of a waypoint, in every pair of versions: Node's client → Envoy → our
// relay → Envoy → Node's server. Bodies, trailers, interim answers, failures, many at once.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { Envoy, httpCluster, httpListener } from '../support/envoy.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { poll } from '../support/mesh-lab.ts'
import type { Versions } from '../support/relay-pair.ts'
import { RelayProxy } from '../support/relay-proxy.ts'

const LARGE = Buffer.alloc(2_000_000, 'abcdefghijklmnopqrstuvwxyz0123456789-')
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

async function whole(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** What is at the far end. */
async function answer(request: IncomingMessage, response: http.ServerResponse): Promise<void> {
  if (request.headers.expect !== undefined) response.writeContinue()
  if (request.url === '/early') {
    response.writeHead(413).end('too much')
    return
  }
  const body = await whole(request)
  if (request.url === '/broken') {
    response.writeHead(200, { 'content-length': LARGE.length })
    response.write('half', () => response.destroy())
    return
  }
  response.setHeader('trailer', 'x-sum')
  response.setHeader('x-trailer-seen', String(request.trailers['x-sum'] ?? '-'))
  response.setHeader('x-method', request.method ?? '')
  response.write(body)
  response.addTrailers({ 'x-sum': sha(body) })
  response.end()
}

interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly trailers: NodeJS.Dict<string>
  readonly body: Buffer
  readonly hasContinued: boolean
}

/** A client of HTTP/1.1 of everything. */
class Client {
  readonly #port: number
  readonly #agent = new http.Agent({ keepAlive: true })

  constructor(t: Test, port: number) {
    this.#port = port
    t.teardown(() => this.#agent.destroy())
  }

  async ask(path: string, body: Buffer | null, headers: http.OutgoingHttpHeaders = {}): Promise<Answer> {
    const method = body === null ? 'GET' : 'POST'
    const asked = http.request({
      ...{ host: '127.0.0.1', port: this.#port, agent: this.#agent, method, path },
      headers: {
        host: 'relay.example',
        te: 'trailers',
        ...headers,
        ...(body === null ? {} : { trailer: 'x-sum' }),
      },
    })
    let hasContinued = false
    asked.on('continue', () => {
      hasContinued = true
    })
    if (headers.expect !== undefined) await Promise.race([once(asked, 'continue'), once(asked, 'response')])
    if (body !== null) asked.addTrailers({ 'x-sum': sha(body) })
    asked.end(body ?? undefined)
    const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
    const received = await whole(response)
    const { statusCode: status = 0, trailers } = response
    return { status, headers: response.headers, trailers, body: received, hasContinued }
  }
}

interface Chain {
  readonly client: Client
  readonly proxy: RelayProxy
}

/** `down` is what Envoy asks us by, `up` what we ask Envoy by. */
async function start(t: Test, versions: Versions): Promise<Chain> {
  const application = http.createServer((request, response) => {
    void answer(request, response).catch((error: Error) => response.destroy(error))
  })
  application.on('checkContinue', (request, response) => application.emit('request', request, response))
  application.listen(0, '127.0.0.1')
  await once(application, 'listening')
  t.teardown(() => {
    application.closeAllConnections()
    application.close()
  })
  const { port } = application.address() as AddressInfo // as: it listens on TCP
  const [near, far] = [await freePort(), await freePort()]
  const proxy = new RelayProxy(versions, far)
  t.teardown(() => proxy.close())
  const own = NetworkNamespace.open('/proc/self/ns/net')
  const envoy = await Envoy.start(
    own,
    labDirectory(t),
    [
      httpListener(near, 'relay', 'HTTP1'),
      httpListener(far, 'application', versions.up === 'h1' ? 'HTTP1' : 'HTTP2'),
    ],
    [httpCluster('relay', proxy.port, versions.down), httpCluster('application', port, 'h1')],
  )
  own.close()
  t.teardown(() => envoy.stop())
  return { client: new Client(t, near), proxy }
}

/** A port that nobody has at the moment. */
async function freePort(): Promise<number> {
  const server = http.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: it listens on TCP
  server.close()
  await once(server, 'close')
  return port
}

t.setTimeout(120_000)
for (const versions of [
  { down: 'h1', up: 'h1' },
  { down: 'h1', up: 'h2' },
  { down: 'h2', up: 'h1' },
  { down: 'h2', up: 'h2' },
] as const) {
  t.test(`Envoy asks by ${versions.down} and answers by ${versions.up}`, async (t) => {
    const { client, proxy } = await start(t, versions)

    await t.test('bodies and trailers pass both ways', async (t) => {
      const small = await client.ask('/', null)
      t.match([small.status, small.headers['x-method']], [200, 'GET'])
      const large = await client.ask('/', LARGE)
      t.equal(large.status, 200)
      t.ok(large.body.equals(LARGE), 'two megabytes come back')
      t.equal(large.headers['x-trailer-seen'], sha(LARGE), 'the trailer of the request')
      t.equal(large.trailers['x-sum'], sha(LARGE), 'the trailer of the answer')
    })

    await t.test('100 is waited for and comes', async (t) => {
      const body = Buffer.from('after 100')
      const answered = await client.ask('/', body, { expect: '100-continue' })
      t.ok(answered.hasContinued)
      t.equal(answered.body.toString(), 'after 100')
    })

    await t.test('an answer before the body, and half an answer, are told as what they are', async (t) => {
      const early = await client.ask('/early', Buffer.alloc(10))
      t.match([early.status, early.body.toString()], [413, 'too much'])
      await t.rejects(client.ask('/broken', Buffer.alloc(1)), 'half an answer is never a whole one')
    })

    await t.test('many at once', async (t) => {
      const bodies = Array.from({ length: 60 }, (_, index) => Buffer.alloc(20_000, String(index)))
      const answers = await Promise.all(bodies.map((body) => client.ask('/', body)))
      t.ok(answers.every(({ body }, index) => body.equals(bodies[index] ?? Buffer.alloc(0))))
      await poll('nothing under way', () => proxy.reasons.length === proxy.relays.length || null)
      const failed = proxy.reasons.filter(({ code }) => code !== 'OK')
      t.ok(failed.length <= 2, `${JSON.stringify(failed)}: those that broke off, and no others`)
    })
  })
}
