// SPDX-License-Identifier: Apache-2.0
// Node's clients and servers of HTTP/1.1 and HTTP/2 on both sides of a relay of ours: bodies, trailers, interim answers,
// concurrent requests, readers that are slow, peers that give up.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import http2, { type ClientHttp2Session, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { poll } from '../support/mesh-lab.ts'
import type { Versions } from '../support/relay-pair.ts'
import { RelayProxy } from '../support/relay-proxy.ts'

t.setTimeout(60_000)
const LARGE = Buffer.alloc(3_000_000, 'abcdefghijklmnopqrstuvwxyz0123456789-')
/** More than all buffers of all sockets on the way take. */
const ENDLESS_BYTES = 60_000_000
const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** Made as it is taken: Node resets streams of a session that holds too much. */
function* endless(): Generator<Buffer> {
  const chunk = Buffer.alloc(100_000, 'x')
  for (let bytes = 0; bytes < ENDLESS_BYTES; bytes += chunk.length) yield chunk
}

async function whole(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** What the servers of both versions do; `abortedCount` of requests whose client gave up. */
class Application {
  abortedCount = 0
  readonly #closers: (() => void)[] = []

  async listen(version: Versions['up']): Promise<number> {
    const answer = (request: IncomingMessage | Http2ServerRequest, response: ServerResponse) => {
      request.on('aborted', () => this.abortedCount++)
      void this.#answer(request, response).catch((error: Error) => response.destroy(error))
    }
    // as: the compatible API of http2 has what is used here
    const compatible = answer as unknown as (q: Http2ServerRequest, r: Http2ServerResponse) => void
    const server = version === 'h1' ? http.createServer(answer) : http2.createServer(compatible)
    server.on('checkContinue', answer)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    this.#closers.push(() => server.close())
    return (server.address() as AddressInfo).port // as: it listens on TCP
  }

  close(): void {
    for (const close of this.#closers) close()
  }

  async #answer(request: IncomingMessage | Http2ServerRequest, response: ServerResponse): Promise<void> {
    const { url = '' } = request
    if (url === '/continue') response.writeContinue()
    if (url === '/hints') response.writeEarlyHints({ link: '</a.css>; rel=preload' })
    if (url === '/early') {
      response.writeHead(413).end('too much')
      return
    }
    if (url === '/endless') {
      Readable.from(endless()).pipe(response)
      return
    }
    if (url === '/never') return
    const body = await whole(request)
    if (url === '/broken') {
      response.writeHead(200, { 'content-length': LARGE.length })
      response.write('half', () => response.destroy())
      return
    }
    if (url === '/trailers') response.setHeader('trailer', 'x-sum')
    response.setHeader('x-asked', String(request.trailers['x-sum'] ?? '-'))
    response.setHeader('x-cookie', String(request.headers.cookie ?? '-'))
    response.write(body)
    if (url === '/trailers') response.addTrailers({ 'x-sum': sha(body) })
    response.end()
  }
}

/** What came back. */
interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly trailers: Readonly<Record<string, unknown>>
  readonly interim: readonly number[]
  readonly body: Buffer
}

/** A request whose answer may be read when the test wants to. */
interface Asked {
  readonly upload: Writable
  /** Resolves with the head of the answer; nothing of the body is read before `read`. */
  readonly head: Promise<{ readonly status: number; read(): Promise<Answer> }>
  abort(): void
}

/** A client of one version on one connection (h2), or as many as it needs (h1). */
abstract class Client {
  abstract ask(
    path: string,
    headers?: Record<string, string | string[]>,
    trailers?: Record<string, string>,
  ): Asked
  abstract close(): void

  async exchange(path: string, body: Buffer, headers = {}, trailers = {}): Promise<Answer> {
    const { upload, head } = this.ask(path, headers, trailers)
    upload.end(body)
    return await (await head).read()
  }
}

class Http1Client extends Client {
  readonly #port: number
  readonly #agent = new http.Agent({ keepAlive: true })

  constructor(port: number) {
    super()
    this.#port = port
  }

  ask(path: string, headers = {}, trailers = {}): Asked {
    const interim: number[] = []
    const options = { port: this.#port, host: '127.0.0.1', agent: this.#agent, method: 'POST', path }
    const trailer = Object.keys(trailers).length > 0 ? { trailer: Object.keys(trailers).join() } : {}
    const upload = http.request({ ...options, headers: { ...headers, ...trailer } })
    upload.on('information', ({ statusCode }) => interim.push(statusCode))
    upload.addTrailers(trailers)
    const head = once(upload, 'response').then(([response]: IncomingMessage[]) => {
      if (response === undefined) throw new Error('no answer')
      const read = async (): Promise<Answer> => {
        const body = await whole(response)
        return {
          status: response.statusCode ?? 0,
          headers: response.headers,
          trailers: response.trailers,
          interim,
          body,
        }
      }
      return { status: response.statusCode ?? 0, read }
    })
    head.catch(() => {})
    return { upload, head, abort: () => upload.destroy() }
  }

  close(): void {
    this.#agent.destroy()
  }
}

class Http2Client extends Client {
  readonly session: ClientHttp2Session

  constructor(port: number) {
    super()
    this.session = http2.connect(`http://127.0.0.1:${port}`)
  }

  ask(path: string, headers = {}, trailers = {}): Asked {
    const interim: number[] = []
    const waitForTrailers = Object.keys(trailers).length > 0
    const stream = this.session.request({ ':method': 'POST', ':path': path, ...headers }, { waitForTrailers })
    stream.on('wantTrailers', () => stream.sendTrailers(trailers))
    stream.on('continue', () => interim.push(100))
    stream.on('headers', (more) => {
      if (more[':status'] !== 100) interim.push(Number(more[':status']))
    })
    let received = {}
    stream.on('trailers', (fields) => {
      received = fields
    })
    const head = once(stream, 'response').then(([answer]) => {
      const status = Number(answer[':status'])
      const read = async (): Promise<Answer> => {
        const body = await whole(stream)
        return { status, headers: answer, trailers: received, interim, body }
      }
      return { status, read }
    })
    head.catch(() => {})
    return { upload: stream, head, abort: () => stream.close(http2.constants.NGHTTP2_CANCEL) }
  }

  close(): void {
    this.session.destroy()
  }
}

async function start(t: Test, versions: Versions) {
  const application = new Application()
  const proxy = new RelayProxy(versions, await application.listen(versions.up), {
    streamWindowBytes: 100_000,
  })
  const client = versions.down === 'h1' ? new Http1Client(proxy.port) : new Http2Client(proxy.port)
  t.teardown(() => {
    client.close()
    proxy.close()
    application.close()
  })
  return { application, proxy, client }
}

for (const versions of [
  { down: 'h2', up: 'h2' },
  { down: 'h2', up: 'h1' },
  { down: 'h1', up: 'h2' },
] as const) {
  const pair = `${versions.down} to ${versions.up}`

  t.test(`${pair}: bodies, trailers and interim answers pass both ways`, async (t) => {
    const { client, proxy } = await start(t, versions)
    const echo = await client.exchange('/', LARGE, { cookie: ['a=1', 'b=2'] })
    t.equal(echo.status, 200)
    t.ok(echo.body.equals(LARGE), 'three megabytes come back')
    t.equal(echo.headers['x-cookie'], 'a=1; b=2')
    const trailers = await client.exchange('/trailers', LARGE, {}, { 'x-sum': 'asked' })
    t.equal(trailers.headers['x-asked'], 'asked')
    t.match(trailers.trailers, { 'x-sum': sha(LARGE) })
    t.equal((await client.exchange('/', Buffer.alloc(0))).body.length, 0)
    t.same((await client.exchange('/hints', Buffer.from('x'))).interim, [103])
    const { upload, head } = client.ask('/continue', { expect: '100-continue' })
    if (versions.down === 'h1') await once(upload, 'continue')
    upload.end('now')
    const continued = await (await head).read()
    t.equal(continued.body.toString(), 'now')
    if (versions.down === 'h2') t.same(continued.interim, [100])
    const early = client.ask('/early')
    early.upload.on('error', () => {}) // the rest of the request is nobody's
    early.upload.write(LARGE)
    t.equal((await early.head).status, 413)
    early.abort()
    t.ok(proxy.reasons.filter(({ code }) => code === 'OK').length >= 5)
  })

  t.test(`${pair}: a hundred requests at once each get their own answer`, async (t) => {
    const { client, proxy } = await start(t, versions)
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => client.exchange('/trailers', LARGE.subarray(i, i + i * 1_000))),
    )
    for (const [i, { body, trailers }] of answers.entries()) {
      t.ok(body.equals(LARGE.subarray(i, i + i * 1_000)), `request ${i}`)
      t.equal(trailers['x-sum'], sha(body))
    }
    // Requests that came while the first connection was being made have one each.
    t.ok(proxy.connectCount <= 100)
    await poll('all relays are over', () => proxy.reasons.length === 100 || null)
    t.same(
      proxy.reasons.filter(({ code }) => code !== 'OK'),
      [],
    )
  })

  t.test(`${pair}: a reader that stops holds its server back, and nobody else`, async (t) => {
    const { client, proxy } = await start(t, versions)
    const slow = client.ask('/endless')
    slow.upload.end()
    const { read } = await slow.head
    for (let i = 0; i < 5; i++) t.ok((await client.exchange('/', LARGE)).body.equals(LARGE), 'a neighbour')
    const { answerBytes = ENDLESS_BYTES } = proxy.relays[0] ?? {}
    t.ok(answerBytes < ENDLESS_BYTES / 2, `${answerBytes} bytes are on their way`)
    t.equal((await read()).body.length, ENDLESS_BYTES)
  })

  t.test(`${pair}: whoever gives up is heard on the other side`, async (t) => {
    const { client, application, proxy } = await start(t, versions)
    const never = client.ask('/never')
    never.upload.on('error', () => {})
    never.upload.write('half')
    await poll('the request has come through', () => proxy.relays[0]?.requestBytes === 4 || null)
    never.abort()
    await poll('the server hears of it', () => application.abortedCount === 1 || null)
    const broken = client.ask('/broken')
    broken.upload.on('error', () => {})
    broken.upload.end('x')
    await t.rejects(broken.head.then(({ read }) => read()))
    await poll('both are over', () => proxy.reasons.length === 2 || null)
    t.ok(proxy.reasons.every(({ code }) => code !== 'OK'))
    t.ok((await client.exchange('/', LARGE)).body.equals(LARGE), 'the next request is served')
  })
}
