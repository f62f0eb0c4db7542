// SPDX-License-Identifier: Apache-2.0
// The gateway of a network, as a program of its own on Node's TLS and HTTP/2: ends the outer tunnel, looks at the authority,
// and passes the bytes inside on as they are. Tells its parent what it saw.
import { createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from 'node:http2'
import { connect } from 'node:net'
import type { TLSSocket } from 'node:tls'

const PORT = 15_008
/** Bytes of a connection that are looked at. */
const MAX_SEEN_BYTES = 65_536
const WINDOW_BYTES = 4_194_304

/** What it is told at first. */
export interface GatewayOrder {
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly rootPem: string
  /** Authority → `ip:port`, or `garbage`: answers nonsense, or a status to refuse with. */
  readonly targets: Readonly<Record<string, string>>
  /** Must not be seen. */
  readonly secret: string
}

/** One CONNECT, when it has ended; `up` at first. */
export interface GatewayEvent {
  readonly type: 'up' | 'opened' | 'ended'
  readonly authority: string
  /** What the source proved. */
  readonly identity: string
  readonly headers: Readonly<Record<string, string>>
  /** Tunnels have numbers. */
  readonly tunnel: number
  /** Of the first record from the source. */
  readonly firstBytes: readonly number[]
  readonly hasSeenSecret: boolean
}

const NOTHING = { authority: '', identity: '', headers: {}, tunnel: 0, firstBytes: [], hasSeenSecret: false }
const tell = (event: GatewayEvent): void => void process.send?.(event, () => {})

function serve(order: GatewayOrder): Http2SecureServer {
  const { certificatePem: cert, privateKeyPem: key, rootPem: ca, targets, secret } = order
  const server = createSecureServer({
    ...{ cert, key, ca, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
    settings: { initialWindowSize: WINDOW_BYTES },
  })
  let tunnels = 0
  server.on('session', (session) => {
    const tunnel = ++tunnels
    session.setLocalWindowSize(WINDOW_BYTES)
    session.on('error', () => {})
    session.on('stream', (stream: ServerHttp2Stream, headers) => {
      const socket = session.socket as TLSSocket // as: the server speaks TLS only
      const identity = (socket.getPeerCertificate().subjectaltname ?? '').replace('URI:', '')
      const authority = headers[':authority'] ?? ''
      const plain = Object.entries(headers).map(([name, value]) => [name, String(value)])
      const facts = { ...NOTHING, authority, identity, headers: Object.fromEntries(plain), tunnel }
      carry(stream, targets[authority] ?? '404', secret, facts)
    })
  })
  return server
}

function carry(
  stream: ServerHttp2Stream,
  target: string,
  secret: string,
  facts: Omit<GatewayEvent, 'type'>,
): void {
  tell({ ...facts, type: 'opened' })
  const seen: Buffer[] = []
  stream.on('error', () => {})
  stream.on('data', (chunk: Buffer) => {
    if (seen.reduce((sum, { length }) => sum + length, 0) < MAX_SEEN_BYTES) seen.push(Buffer.from(chunk))
  })
  stream.on('close', () => {
    const bytes = Buffer.concat(seen)
    const hasSeenSecret = bytes.includes(secret)
    tell({ ...facts, type: 'ended', firstBytes: [...bytes.subarray(0, 3)], hasSeenSecret })
  })
  if (/^\d+$/.test(target)) {
    stream.respond({ ':status': Number(target) }, { endStream: true })
    return
  }
  if (target === 'garbage') {
    stream.respond({ ':status': 200 })
    stream.write('220 this is not TLS\r\n')
    return
  }
  const [host = '', port = ''] = target.split(':')
  const socket = connect({ host, port: Number(port), allowHalfOpen: true }, () =>
    stream.respond({ ':status': 200 }),
  )
  socket.on('error', () => stream.close())
  stream.on('close', () => socket.destroy())
  stream.pipe(socket)
  socket.pipe(stream)
}

if (process.argv.includes('serve')) {
  process.on('disconnect', () => process.exit())
  process.once('message', (order: GatewayOrder) => {
    serve(order).listen(PORT, '0.0.0.0', () => tell({ ...NOTHING, type: 'up' }))
  })
}
