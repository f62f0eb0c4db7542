// SPDX-License-Identifier: Apache-2.0
// A service of HTTP/1.1 as tests want it: says what it was asked, and by whom. Started by startHttpService; ends with its parent.
// usage: node http-service.ts NAME PORT
import { createServer } from 'node:http'

const [name = '', port = '0'] = process.argv.slice(2)
/** Requests by path: what is asked for as /flaky/<n>/<id> fails n times. */
const failures = new Map<string, number>()

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://service')
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const flaky = /^\/flaky\/(\d+)\//.exec(url.pathname)
    const failed = failures.get(url.pathname) ?? 0
    if (flaky !== null && failed < Number(flaky[1])) {
      failures.set(url.pathname, failed + 1)
      response.writeHead(503).end('not yet')
      return
    }
    const answer = {
      service: name,
      method: request.method,
      url: request.url,
      headers: request.headers,
      body: Buffer.concat(chunks).toString('latin1').slice(0, 200),
      bytes: chunks.reduce((sum, { length }) => sum + length, 0),
    }
    const delayMs = Number(url.searchParams.get('delay') ?? '0')
    const status = Number(url.searchParams.get('status') ?? '200')
    setTimeout(() => {
      response.writeHead(status, { 'content-type': 'application/json', 'x-service': name })
      response.end(JSON.stringify(answer))
    }, delayMs)
  })
})
// Another protocol, which echoes.
server.on('upgrade', (request, socket) => {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: ${request.headers.upgrade}\r\nconnection: upgrade\r\n\r\n`,
  )
  socket.on('error', () => {})
  socket.pipe(socket)
})
server.listen(Number(port), '0.0.0.0', () => process.stdout.write('up\n'))
process.stdin.on('end', () => process.exit(0)).resume()
