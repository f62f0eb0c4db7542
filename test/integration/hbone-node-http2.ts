// SPDX-License-Identifier: Apache-2.0
// Our tunnel ends against node:http2 (nghttp2) on loopback sockets without TLS: an independent reading of the RFCs.
import { once } from 'node:events'
import http2 from 'node:http2'
import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { refuse } from '../../mesh/errors/refusal.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import { TunnelClient } from '../../mesh/hbone/tunnel-client.ts'
import { TunnelServer } from '../../mesh/hbone/tunnel-server.ts'
import type { Block, ByteStreamHandler } from '../../mesh/reactor/byte-stream.ts'
import { memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { ClientSays, Outcome, ServerSays } from '../support/hbone-pair.ts'
import { EventLoopScheduler, NodeSocket } from '../support/node-socket.ts'

const scheduler = new EventLoopScheduler()
const resources = new SessionResources({ scheduler, allocateBlock: memoryBlock })
const PAYLOAD = Buffer.alloc(6_000_000, 'the quick brown fox jumps over the lazy dog;')

/** Sends back what it receives, with back-pressure. */
function echo(stream: {
  write(b: Block, s: number, e: number): boolean
  pause(): void
  resume(): void
  end(): void
}): ByteStreamHandler {
  return {
    onData(block, start, end) {
      if (!stream.write(block, start, end)) stream.pause()
    },
    onDrain: () => stream.resume(),
    onEnd: () => stream.end(),
    onClose: () => {},
  }
}

async function listen(t: Tap, onSocket: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, onSocket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port // as: it listens on an IP
}
type Tap = { teardown(callback: () => void): void }

async function text(stream: http2.ClientHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

t.test('node:http2 as client of our server: echo of megabytes, refusals, many streams, drain', async (t) => {
  const says = new ServerSays()
  const servers: TunnelServer[] = []
  says.decide = (request) => {
    if (request.target.port === 81) request.refuse(refuse('POLICY_DENY'))
    else {
      request.stream.setHandler(echo(request.stream))
      request.accept('k8s.namespace.name=there')
    }
  }
  const port = await listen(t, (socket) => {
    servers.push(new TunnelServer({ transport: new NodeSocket(socket, scheduler), resources, handler: says }))
  })
  const client = http2.connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: 100_000 } })
  t.teardown(() => client.destroy())
  await once(client, 'remoteSettings')
  t.match(client.remoteSettings, {
    initialWindowSize: 4_194_304,
    maxFrameSize: 1_048_576,
    maxConcurrentStreams: 200,
  })

  const ask = async (authority: string) => {
    const stream = client.request({ ':method': 'CONNECT', ':authority': authority }, { endStream: false })
    const [headers] = await once(stream, 'response')
    return { stream, headers }
  }
  const { stream, headers } = await ask('10.0.0.7:80')
  t.match(headers, { ':status': 200, baggage: 'k8s.namespace.name=there' })
  stream.end(PAYLOAD)
  t.ok((await text(stream)).equals(PAYLOAD), 'six megabytes come back')

  const refused = await ask('10.0.0.7:81')
  t.equal(refused.headers[':status'], 401)
  refused.stream.close()
  t.equal((await ask('nonsense')).headers[':status'], 400)
  const get = client.request({ ':path': '/' })
  const [getHeaders] = await once(get, 'response')
  t.equal(getHeaders[':status'], 400, 'only CONNECT')

  const many = await Promise.all(
    Array.from({ length: 150 }, async (_, i) => {
      const one = await ask(`service-${i}.shop.svc:80`)
      one.stream.end(`hello ${i}`)
      return (await text(one.stream)).toString()
    }),
  )
  t.same(
    many,
    Array.from({ length: 150 }, (_, i) => `hello ${i}`),
  )
  t.equal(await new Promise((resolve) => client.ping((error) => resolve(error))), null)

  const last = await ask('10.0.0.7:80')
  const goaway = once(client, 'goaway')
  servers[0]?.drain()
  await goaway
  last.stream.end('bye')
  t.equal((await text(last.stream)).toString(), 'bye', 'open streams finish')
  await once(client, 'close')
})

t.test('our client against node:http2 as server: echo, status codes, resets', async (t) => {
  const server = http2.createServer({ settings: { initialWindowSize: 50_000, maxConcurrentStreams: 100 } })
  const seen: http2.IncomingHttpHeaders[] = []
  server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {})
    seen.push(headers)
    const authority = headers[':authority'] ?? ''
    if (authority.startsWith('refuse')) return stream.respond({ ':status': 503 }, { endStream: true })
    if (authority.startsWith('reset')) return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
    stream.respond({ ':status': 200, baggage: 'k8s.pod.name=there' })
    stream.pipe(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const socket = net.connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  }) // as: IP
  await once(socket, 'connect')
  const says = new ClientSays()
  const client = new TunnelClient({ transport: new NodeSocket(socket, scheduler), resources, handler: says })

  const connect = async (authority: string) => {
    const outcome = new Outcome()
    client.openConnect(
      {
        authority,
        baggage: 'k8s.namespace.name=here',
        traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`,
      },
      outcome,
    )
    while (!outcome.isDecided) await new Promise((resolve) => setImmediate(resolve))
    return outcome
  }
  const outcome = await connect('10.0.0.7:80')
  t.equal(outcome.baggage, 'k8s.pod.name=there')
  t.match(seen[0], { ':method': 'CONNECT', ':authority': '10.0.0.7:80', baggage: 'k8s.namespace.name=here' })
  const { stream, record } = outcome
  if (stream === null) throw new Error('not connected')
  const block = memoryBlock(16 + PAYLOAD.length)
  PAYLOAD.copy(block.bytes, 16)
  t.equal(stream.write(block, 16, 16 + PAYLOAD.length), false, 'larger than the window')
  stream.end()
  while (record.reason === null) await new Promise((resolve) => setImmediate(resolve))
  t.equal(record.reason.code, 'OK')
  t.ok(Buffer.concat(record.chunks).equals(PAYLOAD))

  t.equal((await connect('refuse:80')).refusal?.code, 'ENDPOINT_REFUSED')
  t.equal((await connect('reset:80')).refusal?.code, 'TUNNEL_REFUSED')
  const many = await Promise.all(Array.from({ length: 80 }, () => connect('10.0.0.7:80')))
  t.ok(
    many.every((one) => one.baggage === 'k8s.pod.name=there'),
    'repeated headers are decoded by nghttp2',
  )
  client.drain()
  for (const one of many) one.stream?.end()
  while (says.reason === null) await new Promise((resolve) => setImmediate(resolve))
  t.equal(says.reason.code, 'OK')
})
