// SPDX-License-Identifier: Apache-2.0
// What stands at both ends of a way that begins and ends with an Envoy: a service of HTTP/1.1, and a caller of it that says as JSON
// what it got. The service ends with its parent.
// usage: node envoy-peer.ts server PORT | node envoy-peer.ts client PORT [upgrade | once]
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  Agent,
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** An answer, compared with what was sent. */
export interface PeerAnswer {
  readonly status: number
  /** Of an answer that the waypoint gave itself; ''. */
  readonly reason: string
  /** As the service was asked: a method; `length`, `chunked` or `none`. */
  readonly method: string
  readonly framing: string
  readonly bytes: number
  /** The service has read what was sent, and what came back is that. */
  readonly isSame: boolean
  /** The trailer of the request came there, and the one of the answer here. */
  readonly hasTrailers: boolean
}

/** What a caller tells. */
export interface PeerTold {
  readonly get: PeerAnswer
  readonly length: PeerAnswer
  readonly chunked: PeerAnswer
  /** Of those that were asked at once: how many were answered with what they sent. */
  readonly parallel: number
  /** How half an answer ended; '' would be as if it were whole. */
  readonly broken: string
  /** Uploads that the service knows of while one is under way, and that it lost after its caller had gone. */
  readonly uploads: { readonly open: number; readonly lost: number }
  /** What the other protocol gave back; '': not asked for. */
  readonly upgraded: string
}

const LARGE_BYTES = 1_000_000
const PARALLEL = 100
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

async function whole(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

// ---- the service

const uploads = { open: 0, lost: 0 }

async function answer(asked: IncomingMessage, response: ServerResponse): Promise<void> {
  if (asked.url === '/uploads') {
    response.end(JSON.stringify(uploads))
    return
  }
  if (asked.url === '/upload') {
    uploads.open++
    asked.on('aborted', () => {
      uploads.open--
      uploads.lost++
    })
  }
  const body = await whole(asked)
  if (asked.url === '/broken') {
    response.writeHead(200, { 'content-length': LARGE_BYTES })
    response.write('half', () => response.destroy())
    return
  }
  const { 'content-length': length, 'transfer-encoding': coding } = asked.headers
  response.setHeader('x-method', asked.method ?? '')
  response.setHeader('x-framing', coding ?? (length === undefined ? 'none' : 'length'))
  response.setHeader('x-read', sha(body))
  response.setHeader('x-trailer-seen', String(asked.trailers['x-sum'] ?? '-'))
  response.setHeader('trailer', 'x-sum')
  response.write(body)
  response.addTrailers({ 'x-sum': sha(body) })
  response.end()
}

function serve(port: number): void {
  const server = createServer((asked, response) => {
    answer(asked, response).catch((error: Error) => response.destroy(error))
  })
  server.on('upgrade', (asked, socket) => {
    socket.on('error', () => {})
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: ${asked.headers.upgrade}\r\nconnection: upgrade\r\n\r\n`,
    )
    socket.pipe(socket)
  })
  server.listen(port, '127.0.0.1', () => process.stdout.write('up\n'))
  process.stdin.on('end', () => process.exit(0)).resume()
}

// ---- the caller

class Caller {
  readonly #port: number
  readonly #agent = new Agent({ keepAlive: true, maxSockets: PARALLEL })

  constructor(port: number) {
    this.#port = port
  }

  start(method: string, path: string, headers: OutgoingHttpHeaders = {}) {
    const fields = { host: 'peer.example', te: 'trailers', ...headers }
    const asked = request({
      ...{ host: '127.0.0.1', port: this.#port, agent: this.#agent, method, path, headers: fields },
    })
    asked.on('error', () => {})
    return asked
  }

  /** `body` null: GET. `isChunked`: with trailers, and in pieces. */
  async ask(path: string, body: Buffer | null, isChunked = false): Promise<PeerAnswer> {
    const framing = isChunked ? { trailer: 'x-sum' } : body === null ? {} : { 'content-length': body.length }
    const asked = this.start(body === null ? 'GET' : 'POST', path, framing)
    const came = once(asked, 'response')
    if (isChunked && body !== null) {
      for (let at = 0; at < body.length; at += 10_000) asked.write(body.subarray(at, at + 10_000))
      asked.addTrailers({ 'x-sum': sha(body) })
      asked.end()
    } else asked.end(body ?? undefined)
    const [response] = (await came) as [IncomingMessage] // as: what the event carries
    const received = await whole(response)
    const { headers, trailers, statusCode: status = 0 } = response
    const sum = sha(body ?? Buffer.alloc(0))
    return {
      ...{ status, reason: String(headers['x-sidestep-reason'] ?? ''), bytes: received.length },
      ...{ method: String(headers['x-method']), framing: String(headers['x-framing']) },
      isSame: headers['x-read'] === sum && sha(received) === sum,
      hasTrailers: headers['x-trailer-seen'] === sum && trailers['x-sum'] === sum,
    }
  }

  async parallel(): Promise<number> {
    const bodies = Array.from({ length: PARALLEL }, (_, index) => Buffer.alloc(20_000, String(index)))
    const answers = await Promise.all(bodies.map((body, index) => this.ask('/many', body, index % 2 === 0)))
    return answers.filter(({ isSame }) => isSame).length
  }

  async broken(): Promise<string> {
    try {
      const { status } = await this.ask('/broken', Buffer.alloc(1))
      return status === 200 ? '' : String(status)
    } catch (error) {
      return error instanceof Error ? error.message : 'failed'
    }
  }

  async uploads(): Promise<PeerTold['uploads']> {
    const before = await this.#uploadsOnce(() => true)
    const asked = this.start('POST', '/upload')
    asked.write(Buffer.alloc(100_000))
    const { open } = await this.#uploadsOnce(({ open }) => open > 0)
    asked.destroy()
    const { lost } = await this.#uploadsOnce(({ lost }) => lost > before.lost)
    return { open, lost: lost - before.lost }
  }

  async upgraded(): Promise<string> {
    const asked = this.start('GET', '/ws', { connection: 'Upgrade', upgrade: 'websocket' })
    asked.end()
    const [, socket] = (await once(asked, 'upgrade')) as [IncomingMessage, Socket] // as: what the event carries
    const sent = Buffer.alloc(300_000, 'ping of bytes ')
    socket.write(sent)
    const chunks: Buffer[] = []
    let bytes = 0
    while (bytes < sent.length) {
      const [chunk] = (await once(socket, 'data')) as [Buffer] // as: what the event carries
      chunks.push(chunk)
      bytes += chunk.length
    }
    socket.end()
    await once(socket, 'close')
    return Buffer.concat(chunks).equals(sent) ? 'all of it' : `${bytes} others`
  }

  close(): void {
    this.#agent.destroy()
  }

  async #uploadsOnce(holds: (uploads: PeerTold['uploads']) => boolean): Promise<PeerTold['uploads']> {
    for (;;) {
      const asked = this.start('GET', '/uploads')
      const came = once(asked, 'response')
      asked.end()
      const [response] = (await came) as [IncomingMessage] // as: what the event carries
      const known = JSON.parse(String(await whole(response))) as PeerTold['uploads'] // as: the service's answer
      if (holds(known)) return known
      await wait(20)
    }
  }
}

async function call(port: number, isUpgrading: boolean): Promise<PeerTold> {
  const caller = new Caller(port)
  const large = Buffer.alloc(LARGE_BYTES, 'abcdefghijklmnopqrstuvwxyz0123456789-')
  const told = {
    get: await caller.ask('/get', null),
    length: await caller.ask('/length', large),
    chunked: await caller.ask('/chunked', large, true),
    parallel: await caller.parallel(),
    broken: await caller.broken(),
    uploads: await caller.uploads(),
    upgraded: isUpgrading ? await caller.upgraded() : '',
  }
  caller.close()
  return told
}

const [role = '', port = '', mode = ''] = process.argv.slice(2)
if (role === 'server') serve(Number(port))
else if (mode === 'once') process.stdout.write(JSON.stringify(await new Caller(Number(port)).ask('/', null)))
else process.stdout.write(JSON.stringify(await call(Number(port), mode === 'upgrade')))
