// SPDX-License-Identifier: Apache-2.0
// The server against real clients over TLS: grpc-js, and raw HTTP/2 for what no gRPC client would send.
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import {
  type GrpcMethod,
  type ServerStream,
  STREAM_HIGH_WATER_BYTES,
  type UnaryCall,
} from '../../../mesh/grpc/calls.ts'
import { openGrpcClient } from '../../../mesh/grpc/client.ts'
import { GrpcServer, type GrpcServerOptions, MAX_REQUEST_BYTES } from '../../../mesh/grpc/server.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { type ServerCertificate, serverCertificate } from '../../support/server-certificate.ts'

const CALL_MS = 10_000
const identity = await serverCertificate()
const same = (bytes: Buffer): Buffer => bytes

async function startServer(
  t: Test,
  methods: readonly GrpcMethod[],
  options: Partial<GrpcServerOptions> = {},
): Promise<GrpcServer> {
  const server = await GrpcServer.start({ host: '127.0.0.1', port: 0, identity, methods, ...options })
  t.teardown(() => server.stop(0))
  return server
}

function clientOf(
  t: Test,
  server: GrpcServer,
  from: { root?: ServerCertificate; identity?: { certificatePem: string; privateKeyPem: string } } = {},
): ReturnType<typeof openGrpcClient> {
  const client = openGrpcClient({
    address: `localhost:${server.port}`,
    rootsPem: (from.root ?? identity).rootPem,
    ...(from.identity === undefined ? {} : { identity: from.identity }),
  })
  t.teardown(() => client.close())
  return client
}

const unary = (handle: (call: UnaryCall) => Promise<Buffer>, path = '/test.Test/Echo'): GrpcMethod => ({
  kind: 'unary',
  path,
  handle,
})
const echo = unary(async ({ request }) => request)

function openStream(t: Test, server: GrpcServer): ClientDuplexStream<Buffer, Buffer> {
  const client = new Client(
    `localhost:${server.port}`,
    credentials.createSsl(Buffer.from(identity.rootPem)),
    { 'grpc.max_receive_message_length': -1 },
  )
  t.teardown(() => client.close())
  const stream = client.makeBidiStreamRequest('/test.Test/Stream', same, same, new Metadata())
  stream.on('error', () => {})
  return stream
}

t.test('bytes go in and bytes come out, with headers', async (t) => {
  let seen: string | undefined
  const server = await startServer(t, [
    unary(async ({ request, metadata, peer }) => {
      seen = `${metadata.get('authorization')} ${metadata.get('absent')} ${peer.certificateDer}`
      t.match(peer.address, /^127\.0\.0\.1:\d+$/)
      return Buffer.concat([request, Buffer.of(0xff)])
    }),
  ])
  const answer = await clientOf(t, server).call(
    '/test.Test/Echo',
    Buffer.of(1, 2),
    { authorization: 'Bearer x' },
    CALL_MS,
  )
  t.same(answer, { kind: 'bytes', bytes: Buffer.of(1, 2, 0xff) })
  t.equal(seen, 'Bearer x undefined undefined')
})

t.test('a thrown reason becomes its gRPC status; a defect says nothing but that it is one', async (t) => {
  const defects: unknown[] = []
  const methods = [
    unary(async () => {
      throw new MeshError('IDENTITY_MISSING', { detail: 'half a pair \ud800, a line\nbreak and ü' })
    }, '/test.Test/Refuse'),
    unary(() => {
      throw new Error('the secret is 42')
    }, '/test.Test/Break'),
  ]
  const server = await startServer(t, methods, {
    onDefect: (path, cause) => defects.push(`${path} ${cause}`),
  })
  const client = clientOf(t, server)
  const refused = await client.call('/test.Test/Refuse', Buffer.alloc(0), {}, CALL_MS)
  t.same(refused, {
    kind: 'status',
    code: 16,
    details: 'IDENTITY_MISSING: half a pair \ufffd, a line\nbreak and ü',
  })
  const broken = await client.call('/test.Test/Break', Buffer.alloc(0), {}, CALL_MS)
  t.same(broken, { kind: 'status', code: 13, details: 'INTERNAL' })
  t.same(defects, ['/test.Test/Break Error: the secret is 42'])
  const unknown = await client.call('/test.Test/Nothing', Buffer.alloc(0), {}, CALL_MS)
  t.match(unknown, { kind: 'status', code: 12 })
})

t.test(
  'a request of the limit passes, one byte more is RESOURCE_EXHAUSTED and disturbs nobody',
  async (t) => {
    const server = await startServer(t, [unary(async ({ request }) => Buffer.from(String(request.length)))])
    const client = clientOf(t, server)
    const send = (bytes: number) => client.call('/test.Test/Echo', Buffer.alloc(bytes), {}, CALL_MS)
    const [largest, tooLarge, small] = await Promise.all([
      send(MAX_REQUEST_BYTES),
      send(MAX_REQUEST_BYTES + 1),
      send(3),
    ])
    t.same(largest, { kind: 'bytes', bytes: Buffer.from(String(MAX_REQUEST_BYTES)) })
    t.match(tooLarge, { kind: 'status', code: 8 })
    t.same(small, { kind: 'bytes', bytes: Buffer.from('3') })
  },
)

t.test("the client's deadline and its going away abort the call", async (t) => {
  const aborted: string[] = []
  let started = 0
  const server = await startServer(t, [
    unary(
      ({ signal, request }) =>
        new Promise((_, reject) => {
          started++
          signal.addEventListener('abort', () => {
            aborted.push(request.toString())
            reject(new MeshError('SHUTDOWN'))
          })
        }),
    ),
  ])
  const late = await clientOf(t, server).call('/test.Test/Echo', Buffer.from('deadline'), {}, 1_500)
  t.match(late, { kind: 'status', code: 4 })
  const leaving = clientOf(t, server)
  const left = leaving.call('/test.Test/Echo', Buffer.from('left'), {}, CALL_MS)
  await waitFor(() => started === 2)
  leaving.close()
  t.match(await left, { kind: 'status' })
  await waitFor(() => aborted.length === 2)
  t.same(aborted.toSorted(), ['deadline', 'left'])
})

t.test('a handler that never answers is ended by the server', async (t) => {
  let isAborted = false
  const stuck = unary(({ signal }) => {
    signal.addEventListener('abort', () => {
      isAborted = true
    })
    return new Promise(() => {})
  })
  const server = await startServer(t, [stuck], { unaryTimeoutMs: 50 })
  const answer = await clientOf(t, server).call('/test.Test/Echo', Buffer.alloc(0), {}, CALL_MS)
  t.match(answer, { kind: 'status', code: 4, details: 'the server took too long' })
  t.equal(isAborted, true)
})

t.test('a certificate is replaced live; an unusable one changes nothing', async (t) => {
  const server = await startServer(t, [echo])
  const call = (root: ServerCertificate) =>
    clientOf(t, server, { root }).call('/test.Test/Echo', Buffer.of(7), {}, CALL_MS)
  const old = clientOf(t, server)
  t.match(await old.call('/test.Test/Echo', Buffer.of(1), {}, CALL_MS), { kind: 'bytes' })
  const next = await serverCertificate()
  t.throws(() => server.replaceIdentity({ ...next, privateKeyPem: 'no key' }), { code: 'CERT_INVALID' })
  t.match(await call(identity), { kind: 'bytes' })
  server.replaceIdentity(next)
  t.match(await call(next), { kind: 'bytes' })
  t.match(await call(identity), { kind: 'status', code: 14 })
  t.match(await old.call('/test.Test/Echo', Buffer.of(1), {}, CALL_MS), { kind: 'bytes' }, 'connections stay')
})

t.test('only a client certificate that verifies is seen', async (t) => {
  const authority = await TestAuthority.create()
  const foreign = await TestAuthority.create()
  const id = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
  const seen = unary(async ({ peer }) => Buffer.from(peer.certificateDer === undefined ? 'none' : 'one'))
  const server = await startServer(t, [seen], {
    identity: { ...identity, clientRootsPem: authority.rootPem },
  })
  const seenBy = async (of?: { certificatePem: string; privateKeyPem: string }): Promise<string> => {
    const client = clientOf(t, server, of === undefined ? {} : { identity: of })
    const answer = await client.call('/test.Test/Echo', Buffer.alloc(0), {}, CALL_MS)
    return answer.kind === 'bytes' ? answer.bytes.toString() : `status ${answer.code}`
  }
  t.equal(await seenBy(await authority.sign(id)), 'one')
  t.equal(await seenBy(), 'none')
  t.equal(await seenBy(await foreign.sign(id)), 'none', 'of another root')
  t.equal(await seenBy(await authority.signBad('expired', id)), 'none', 'expired')
})

t.test('a stream reads only when started, in order, and ends with the status of the server', async (t) => {
  const opened: ServerStream[] = []
  const server = await startServer(t, [
    { kind: 'stream', path: '/test.Test/Stream', handle: (stream) => void opened.push(stream) },
  ])
  const client = openStream(t, server)
  client.write(Buffer.from('a'))
  client.write(Buffer.from('b'))
  await waitFor(() => opened.length === 1)
  const [stream] = opened
  const heard: string[] = []
  stream?.start({
    onMessage: (message) => {
      heard.push(message.toString())
      stream.write(message)
    },
    onEnd: () => {
      heard.push('end')
      stream.fail(new MeshError('LIMIT_NODE', { detail: 'enough' }))
    },
    onDrain: () => heard.push('drain'),
    onClose: () => heard.push('close'),
  })
  const answers: string[] = []
  client.on('data', (message: Buffer) => answers.push(message.toString()))
  const failed = once(client, 'error')
  client.end()
  const [error] = (await failed) as [ServiceError] // as: what grpc-js clients emit
  t.match(error, { code: 8, details: 'LIMIT_NODE: enough' })
  await waitFor(() => heard.includes('close'))
  t.same(heard, ['a', 'b', 'end', 'close'])
  t.same(answers, ['a', 'b'])
})

t.test('a refused stream is closed with its reason, and a defect in a handler too', async (t) => {
  for (const [failure, code] of [
    [new MeshError('IDENTITY_MISSING'), 16],
    [new TypeError('x'), 13],
  ] as const) {
    const server = await startServer(t, [
      {
        kind: 'stream',
        path: '/test.Test/Stream',
        handle: () => {
          throw failure
        },
      },
    ])
    const client = openStream(t, server)
    client.resume()
    const [error] = (await once(client, 'error')) as [ServiceError] // as: what grpc-js clients emit
    t.equal(error.code, code)
  }
})

t.test('a client that does not read stops write(), and drain comes when it reads', async (t) => {
  const opened: ServerStream[] = []
  const server = await startServer(t, [
    { kind: 'stream', path: '/test.Test/Stream', handle: (stream) => void opened.push(stream) },
  ])
  const client = openStream(t, server)
  client.pause()
  await waitFor(() => opened.length === 1)
  const [stream] = opened
  let drained = 0
  stream?.start({ onMessage() {}, onEnd() {}, onDrain: () => drained++, onClose() {} })
  const message = Buffer.alloc(64 * 1024)
  let written = 0
  const isRoom = (): boolean => stream?.write(message) === true
  while (written < 1000 && isRoom()) written++
  t.ok(written < 1000, `${written} writes until it said no`)
  await new Promise((resolve) => setImmediate(resolve))
  t.ok((stream?.unsentBytes ?? 0) > STREAM_HIGH_WATER_BYTES / 2, 'nobody reads, so it stays unsent')
  t.equal(drained, 0)
  let received = 0
  client.on('data', (bytes: Buffer) => {
    received += bytes.length
  })
  client.resume()
  await waitFor(() => drained === 1 && received === (written + 1) * message.length)
  t.equal(stream?.unsentBytes, 0)
})

t.test('a stop waits for calls that run, takes no new ones, and cuts after its grace', async (t) => {
  const waiting: ((bytes: Buffer) => void)[] = []
  const server = await startServer(t, [
    unary(
      () =>
        new Promise((resolve) => {
          waiting.push(resolve)
        }),
    ),
    { kind: 'stream', path: '/test.Test/Stream', handle: (stream) => stream.start(silent) },
  ])
  const running = clientOf(t, server).call('/test.Test/Echo', Buffer.alloc(0), {}, CALL_MS)
  await waitFor(() => waiting.length === 1)
  const stopped = server.stop(5_000)
  const late = await clientOf(t, server).call('/test.Test/Echo', Buffer.alloc(0), {}, 200)
  t.equal(late.kind, 'status')
  t.ok(late.kind === 'status' && [4, 14].includes(late.code), 'refused, or still dialling at its deadline')
  waiting[0]?.(Buffer.from('done'))
  t.same(await running, { kind: 'bytes', bytes: Buffer.from('done') })
  await stopped
  await server.stop(0)

  const other = await startServer(t, [
    { kind: 'stream', path: '/test.Test/Stream', handle: (stream) => stream.start(silent) },
  ])
  const client = openStream(t, other)
  const cut = once(client, 'error')
  client.resume()
  await waitFor(() => other.connectionCount === 1)
  await other.stop(20)
  t.match(await cut, [{ code: 14 }])
})
const silent = { onMessage() {}, onEnd() {}, onDrain() {}, onClose() {} }

t.test('garbage of every kind is answered or cut, and the next client is served', async (t) => {
  const server = await startServer(t, [echo], { maxConnections: 8 })
  const post = (path: string, headers: Record<string, string>, body: Buffer) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      const session = connectHttp2(`https://localhost:${server.port}`, { ca: identity.rootPem })
      session.on('error', reject)
      const stream = session.request({ ':method': 'POST', ':path': path, ...headers })
      let seen: Record<string, unknown> = {}
      const add = (more: object): void => {
        seen = { ...seen, ...more }
      }
      stream.on('response', add)
      stream.on('trailers', add)
      stream.on('error', (error) => add({ error: error.message }))
      stream.on('close', () => session.close(() => resolve(seen)))
      stream.resume()
      stream.end(body)
    })
  const grpc = { 'content-type': 'application/grpc', te: 'trailers' }
  t.match(await post('/test.Test/Echo', { 'content-type': 'text/html' }, Buffer.alloc(0)), { ':status': 415 })
  t.match(await post('/x/\u00ff%00', grpc, Buffer.alloc(0)), { 'grpc-status': '12' })
  t.match(await post('/test.Test/Echo', { ...grpc, 'grpc-timeout': 'soon' }, Buffer.alloc(5)), {
    'grpc-status': '13',
  })
  const huge = Buffer.of(0, 0xff, 0xff, 0xff, 0xff, 0)
  t.match(await post('/test.Test/Echo', grpc, huge), { 'grpc-status': '8' })
  const compressed = Buffer.of(1, 0, 0, 0, 3, 1, 2, 3)
  t.match(await post('/test.Test/Echo', { ...grpc, 'grpc-encoding': 'gzip' }, compressed), {
    'grpc-status': '13',
  })
  t.match(await post('/test.Test/Echo', grpc, Buffer.alloc(0)), { 'grpc-status': '12' }, 'no message')

  const noH2 = connectTls({ port: server.port, host: 'localhost', ca: identity.rootPem })
  noH2.on('error', () => {})
  await once(noH2, 'close')
  const noise = connectTls({
    port: server.port,
    host: 'localhost',
    ca: identity.rootPem,
    ALPNProtocols: ['h2'],
  })
  noise.on('error', () => {})
  noise.end('GET / HTTP/1.1\r\n\r\n')
  noise.resume()
  await once(noise, 'close')
  await waitFor(() => server.connectionCount === 0)
  t.match(await clientOf(t, server).call('/test.Test/Echo', Buffer.of(1), {}, CALL_MS), { kind: 'bytes' })
})

t.test('pings are answered, however many', async (t) => {
  const server = await startServer(t, [echo])
  const session = connectHttp2(`https://localhost:${server.port}`, { ca: identity.rootPem })
  t.teardown(() => session.destroy())
  await once(session, 'connect')
  for (let count = 0; count < 50; count++) {
    await new Promise<void>((resolve, reject) =>
      session.ping((error) => (error === null ? resolve() : reject(error))),
    )
  }
  t.equal(session.closed, false)
})

t.test('connections over the limit are closed at once', async (t) => {
  const server = await startServer(t, [echo], { maxConnections: 1 })
  t.match(await clientOf(t, server).call('/test.Test/Echo', Buffer.of(1), {}, CALL_MS), { kind: 'bytes' })
  t.match(await clientOf(t, server).call('/test.Test/Echo', Buffer.of(1), {}, 300), { kind: 'status' })
})

t.test('one address cannot take the places of all', async (t) => {
  const server = await startServer(t, [echo], { maxConnectionsPerAddress: 2 })
  const open = async (localAddress: string): Promise<string> => {
    const below = connectTcp({ port: server.port, host: '127.0.0.1', localAddress })
    below.on('error', () => {})
    const socket = connectTls({
      socket: below,
      host: 'localhost',
      ca: identity.rootPem,
      ALPNProtocols: ['h2'],
    })
    socket.resume()
    t.teardown(() => socket.destroy())
    return await Promise.race([
      once(socket, 'secureConnect').then(() => 'open'),
      once(socket, 'close').then(() => 'closed'),
    ]).catch(() => 'closed')
  }
  t.same(
    [await open('127.0.0.1'), await open('127.0.0.1'), await open('127.0.0.1')],
    ['open', 'open', 'closed'],
  )
  t.equal(await open('127.0.0.2'), 'open')
  t.equal(server.connectionCount, 3)
})

t.test('no session is resumed: every certificate is verified anew', async (t) => {
  const server = await startServer(t, [echo])
  const kept: { session?: Buffer } = {}
  for (let round = 0; round < 2; round++) {
    const socket = connectTls({
      port: server.port,
      host: 'localhost',
      ca: identity.rootPem,
      ALPNProtocols: ['h2'],
      ...kept,
    })
    socket.on('session', (fresh: Buffer) => {
      kept.session = fresh
    })
    socket.resume()
    await once(socket, 'secureConnect')
    t.equal(socket.isSessionReused(), false)
    await new Promise((resolve) => setTimeout(resolve, 30)) // tickets come after the handshake
    socket.destroy()
  }
})

t.test('an unusable identity or address is told when starting', async (t) => {
  const options = { host: '127.0.0.1', port: 0, identity, methods: [echo] }
  const bad = { ...identity, certificatePem: 'none' }
  await t.rejects(GrpcServer.start({ ...options, identity: bad }), { code: 'CERT_INVALID' })
  const server = await startServer(t, [echo])
  await t.rejects(GrpcServer.start({ ...options, port: server.port }), { code: 'SYSTEM_CALL' })
})

async function waitFor(isDone: () => boolean): Promise<void> {
  for (let tries = 0; !isDone(); tries++) {
    if (tries === 500) throw new Error('it did not happen within 5 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
