// SPDX-License-Identifier: Apache-2.0
// The admin API of a process: HTTP on a Unix socket that only its user may open, and what of it everybody may see
// on a TCP port. On node:net, because loading node:http adds 14 MB to a bare process, for a dozen routes; one request
// per connection.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { Log } from '../runtime/log.ts'
import type { AdminAnswer, AdminRoutes, AdminStream } from './admin-answers.ts'
import { auditChange } from './admin-audit.ts'

/** A caller that sends nothing for this long is cut off. */
const REQUEST_TIMEOUT_MS = 5000
const MAX_ADMIN_CONNECTIONS = 64 // callers at once, of the socket and of the status port each
/** Request line and headers; bodies are not used. */
const MAX_REQUEST_BYTES = 8192
const STATUS_TEXT: Readonly<Record<number, string>> = {
  200: 'OK',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

const plain = (status: number, body: string): AdminAnswer => ({ status, type: 'text/plain', body })

/** Serves some routes of `App`. */
export class AdminServer<App extends { readonly log: Log }> {
  readonly #app: App
  readonly #routes: AdminRoutes<App>
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #path = ''

  constructor(app: App, routes: AdminRoutes<App>) {
    this.#app = app
    this.#routes = routes
    this.#server = createServer((socket) => this.#serve(socket))
    this.#server.maxConnections = MAX_ADMIN_CONNECTIONS
  }

  /** Opens the socket, replacing one that an earlier process left. */
  async listen(path: string): Promise<void> {
    this.#path = path
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await rm(path, { force: true })
    await this.#listen({ path })
    await chmod(path, 0o600)
  }

  /** Opens `port` on every address; returns the port. */
  async listenTcp(port: number): Promise<number> {
    await this.#listen({ port })
    return (this.#server.address() as AddressInfo).port // as: TCP
  }

  #listen(where: { readonly path: string } | { readonly port: number }): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(where, resolve)
    })
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (!this.#server.listening) return
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    if (this.#path !== '') await rm(this.#path, { force: true })
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    socket.on('error', () => socket.destroy()) // the caller left
    socket.setTimeout(REQUEST_TIMEOUT_MS, () => socket.destroy())
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      const isWhole = received.includes('\r\n\r\n')
      if (!isWhole && received.length <= MAX_REQUEST_BYTES) return
      socket.removeAllListeners('data').resume()
      if (!isWhole) respond(socket, plain(431, 'request too long\n'))
      else void this.#answer(socket, received)
    })
  }

  async #answer(socket: Socket, request: string): Promise<void> {
    const line = /^([A-Z]{3,7}) (\/[!-~]*) HTTP\/1\.[01]\r\n/.exec(request)
    if (line === null) {
      respond(socket, plain(400, 'not HTTP/1.1\n'))
      return
    }
    try {
      const answer = await this.#route(line[1] ?? '', new URL(`http://admin${line[2]}`), socket)
      if ('open' in answer) stream(socket, answer)
      else respond(socket, answer)
    } catch (error) {
      this.#app.log.error({ err: error }, 'admin request failed')
      respond(socket, plain(500, 'internal error\n'))
    }
  }

  async #route(method: string, url: URL, socket: Socket): Promise<AdminAnswer | AdminStream> {
    const route = Object.hasOwn(this.#routes, url.pathname) ? this.#routes[url.pathname] : undefined
    if (route === undefined) return plain(404, `there is:\n${Object.keys(this.#routes).join('\n')}\n`)
    if (route.method !== method) return plain(405, `use ${route.method}\n`)
    if (method === 'GET') return await route.answer(this.#app, url.searchParams)
    const change = { name: url.pathname.slice(1), query: url.searchParams }
    const audit = (status: number): void => auditChange(this.#app.log, { ...change, status }, socket)
    try {
      const answer = await route.answer(this.#app, url.searchParams)
      audit('status' in answer ? answer.status : 200)
      return answer
    } catch (error) {
      audit(500)
      throw error
    }
  }
}

function respond(socket: Socket, { status, type, body }: AdminAnswer): void {
  const head = [
    `HTTP/1.1 ${status} ${STATUS_TEXT[status] ?? 'Unknown'}`,
    `content-type: ${type}; charset=utf-8`,
    `content-length: ${Buffer.byteLength(body)}`,
    'cache-control: no-store',
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

function stream(socket: Socket, { type, open }: AdminStream): void {
  socket.setTimeout(0)
  socket.write(
    `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n`,
  )
  if (socket.destroyed) return
  const close = open({
    write: (bytes) => void socket.write(bytes),
    get unreadBytes() {
      return socket.writableLength
    },
    end: () => socket.end(),
  })
  socket.once('close', close)
}
