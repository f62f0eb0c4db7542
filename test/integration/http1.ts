// SPDX-License-Identifier: Apache-2.0
// Both sessions on real sockets, as a proxy between curl or Node's client and Node's server.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { RelayProxy } from '../support/relay-proxy.ts'

const LARGE = Buffer.alloc(3_000_000, 'abcdefghijklmnopqrstuvwxyz0123456789-')
const sha = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex')

function answer(message: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = []
  message.on('data', (chunk) => chunks.push(chunk))
  message.on('end', () => {
    const body = Buffer.concat(chunks)
    if (message.url === '/large') response.setHeader('content-length', LARGE.length).end(LARGE)
    else if (message.url === '/chunks') {
      response.setHeader('trailer', 'x-sum')
      for (let at = 0; at < LARGE.length; at += 50_000) response.write(LARGE.subarray(at, at + 50_000))
      response.addTrailers({ 'x-sum': 'of all' })
      response.end()
    } else if (message.url === '/gone') message.socket.destroy()
    else
      response.end(`${message.method} ${message.headers.host} ${sha(body)} ${message.trailers['x-t'] ?? '-'}`)
  })
}

async function proxied(t: Test): Promise<RelayProxy> {
  const upstream = createServer(answer)
  upstream.on('upgrade', (_message, socket: Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    socket.on('data', (bytes) => socket.write(bytes.toString().toUpperCase()))
    socket.on('end', () => socket.end('bye'))
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  const proxy = new RelayProxy({ down: 'h1', up: 'h1' }, (upstream.address() as AddressInfo).port) // as: it listens on TCP
  t.teardown(() => {
    proxy.close()
    upstream.closeAllConnections()
    upstream.close()
  })
  return proxy
}

/** Runs curl; what it writes, and its exit status. */
function curl(...options: string[]): Promise<{ readonly text: string; readonly status: unknown }> {
  return new Promise((resolve) => {
    const all = ['-sS', '--max-time', '10', ...options]
    const done = (error: { code?: unknown } | null, text: string) =>
      resolve({ text, status: error?.code ?? 0 })
    const child = execFile('curl', all, { maxBuffer: 1 << 24, encoding: 'latin1' }, done)
    child.stdin?.on('error', () => {}).end(LARGE) // most do not read it
  })
}

t.test('curl through both sessions: bodies of every kind, kept connections, faults', async (t) => {
  const proxy = await proxied(t)
  const url = `http://127.0.0.1:${proxy.port}`
  const host = `127.0.0.1:${proxy.port}`
  const three = await curl(`${url}/a`, `${url}/b`, '-w', ' %{num_connects}\n', '-H', 'X: y', `${url}/c`)
  t.same(
    three.text.trim().split('\n'),
    [1, 0, 0].map((connects) => `GET ${host} ${sha('')} - ${connects}`),
  )
  t.equal(proxy.connectCount, 1, 'the connection to the upstream is kept too')
  t.equal(
    (await curl('--data-binary', '@-', `${url}/`)).text,
    `POST ${host} ${sha(LARGE)} -`,
    'with 100-continue',
  )
  t.equal((await curl('-T', '-', `${url}/`)).text, `PUT ${host} ${sha(LARGE)} -`, 'in chunks')
  t.equal(sha((await curl(`${url}/large`)).text), sha(LARGE))
  t.equal(sha((await curl(`${url}/chunks`)).text), sha(LARGE))
  t.equal(sha((await curl('--http1.0', `${url}/chunks`)).text), sha(LARGE), 'to HTTP/1.0')
  const head = await curl('-I', `${url}/large`)
  t.match(head.text, /^HTTP\/1\.1 200 OK\r\n.*content-length: 3000000\r\n/s)
  const gone = await curl('-i', `${url}/gone`)
  t.match(gone.text, /^HTTP\/1\.1 502 Bad Gateway\r\nx-sidestep-reason: PEER_RESET\r\n/)
  t.equal((await curl('-H', 'Host: a b', '-o', '/dev/null', '-w', '%{http_code}', `${url}/`)).text, '400')
})

t.test('Node’s client through both sessions: trailers both ways, a WebSocket, a slow reader', async (t) => {
  const proxy = await proxied(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const ask = (options: object, body: string, trailers: Record<string, string> = {}) =>
    new Promise<{ text: string; trailers: NodeJS.Dict<string> }>((resolve, reject) => {
      const asked = request({ port: proxy.port, host: '127.0.0.1', agent, ...options }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk) => {
          chunks.push(chunk)
          if (chunks.length % 10 > 0) return
          response.pause()
          setImmediate(() => response.resume())
        })
        response.on('end', () =>
          resolve({ text: Buffer.concat(chunks).toString('latin1'), trailers: response.trailers }),
        )
      })
      asked.on('error', reject)
      if (body !== '') asked.write(body)
      asked.addTrailers(trailers)
      asked.end()
    })
  const headers = { 'transfer-encoding': 'chunked', trailer: 'x-t' }
  const posted = await ask({ method: 'POST', path: '/', headers }, 'hello', { 'x-t': 'sum' })
  t.match(posted.text, new RegExp(`^POST .* ${sha('hello')} sum$`))
  const chunks = await ask({ path: '/chunks' }, '')
  t.equal(sha(Buffer.from(chunks.text, 'latin1')), sha(LARGE))
  t.equal(chunks.trailers['x-sum'], 'of all')
  const text = await new Promise<string>((resolve, reject) => {
    const upgrade = { connection: 'Upgrade', upgrade: 'websocket' }
    const asked = request({ port: proxy.port, host: '127.0.0.1', headers: upgrade })
    asked.on('error', reject).end()
    asked.on('upgrade', (_response, socket: Socket) => {
      let got = ''
      socket.on('data', (bytes) => {
        got += bytes
        if (got === 'SHOUT') socket.end()
      })
      socket.on('end', () => resolve(got))
      socket.write('shout')
    })
  })
  t.equal(text, 'SHOUTbye')
})
