// SPDX-License-Identifier: Apache-2.0
// What everybody may see who reaches the controller: whether it is ready, and its metrics. Plain HTTP on a port of its
// own, so that probes need neither a program in the image nor the admin socket.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A caller that sends nothing for this long is cut off. */
const REQUEST_TIMEOUT_MS = 5000
const MAX_STATUS_CONNECTIONS = 64 // callers at once: a probe, a scraper, and some that forget to leave
const MAX_HEADER_BYTES = 8192 // request line and headers; bodies are not read

/** What is told. */
export interface StatusSubject {
  /** What readiness waits for; empty = ready. */
  pending(): readonly string[]
  /** OpenMetrics text. */
  metrics(): string
}

export class StatusServer {
  readonly #server: Server

  constructor(subject: StatusSubject) {
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: REQUEST_TIMEOUT_MS,
      },
      (request, response) => {
        const { status, body } = answer(subject, request.method ?? '', request.url ?? '')
        response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' })
        response.end(body)
        request.resume()
      },
    )
    this.#server.maxConnections = MAX_STATUS_CONNECTIONS
    this.#server.setTimeout(REQUEST_TIMEOUT_MS)
  }

  /** Opens `port` on every address, unless it is open; returns the port. */
  async listen(port: number): Promise<number> {
    if (this.#server.listening) return (this.#server.address() as AddressInfo).port // as: TCP
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once('error', reject).listen(port, resolve)
    await promise
    return (this.#server.address() as AddressInfo).port // as: TCP
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    this.#server.closeAllConnections()
    await promise
  }
}

function answer(
  subject: StatusSubject,
  method: string,
  url: string,
): { readonly status: number; readonly body: string } {
  const [path] = url.split('?', 1)
  if (path !== '/ready' && path !== '/metrics') return { status: 404, body: 'there is:\n/ready\n/metrics\n' }
  if (method !== 'GET') return { status: 405, body: 'use GET\n' }
  if (path === '/metrics') return { status: 200, body: subject.metrics() }
  const pending = subject.pending()
  return pending.length === 0
    ? { status: 200, body: 'ready\n' }
    : { status: 503, body: `not ready, pending: ${pending.join(', ')}\n` }
}
