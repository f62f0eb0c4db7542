// SPDX-License-Identifier: Apache-2.0
// The admin API of the data process: HTTP on a Unix socket that only its user may open. node:http, because this
// process must stay small and the API has a dozen routes.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { dirname } from 'node:path'
import { type AdminAnswer, adminRoutes } from './admin-routes.ts'
import type { App } from './app.ts'

/** A caller that sends nothing for this long is cut off. */
const REQUEST_TIMEOUT_MS = 5000
const MAX_ADMIN_CONNECTIONS = 64

/** Serves adminRoutes. */
export class AdminServer {
  readonly #app: App
  readonly #server: Server
  #path = ''

  constructor(app: App) {
    this.#app = app
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      void this.#answer(request, response).catch((error: unknown) => {
        app.log.error({ err: error }, 'admin request failed')
        send(response, { status: 500, type: 'text/plain', body: 'internal error\n' })
      })
    })
    this.#server.maxConnections = MAX_ADMIN_CONNECTIONS
  }

  /** Opens the socket, replacing one that an earlier process left. */
  async listen(path: string): Promise<void> {
    this.#path = path
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await rm(path, { force: true })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(path, resolve)
    })
    await chmod(path, 0o600)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    if (!this.#server.listening) return
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    await rm(this.#path, { force: true })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://admin')
    const route = adminRoutes[url.pathname]
    if (route === undefined) {
      const paths = Object.keys(adminRoutes).join('\n')
      send(response, { status: 404, type: 'text/plain', body: `there is:\n${paths}\n` })
    } else if (route.method !== request.method) {
      send(response, { status: 405, type: 'text/plain', body: `use ${route.method}\n` })
    } else send(response, await route.answer(this.#app, url.searchParams))
  }
}

function send(response: ServerResponse, { status, type, body }: AdminAnswer): void {
  if (response.headersSent) return
  response.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' })
  response.end(body)
}
