// SPDX-License-Identifier: Apache-2.0
// nghttp and h2load as clients of our HTTP/2 server over TLS 1.3: bodies under flow control, CONTINUATION, padding,
// priorities, header tables, trailers, hundreds of streams, refusals and the end.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import t, { type Test } from 'tap'
import { DEFAULT_MAX_FRAME_BYTES } from '../../mesh/h2/frames.ts'
import { H2Session } from '../../mesh/h2/session.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { LocalSettings } from '../../mesh/h2/settings.ts'
import { TunnelServer } from '../../mesh/hbone/tunnel-server.ts'
import { memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { TestAuthority } from '../support/certificates.ts'
import { runForeign } from '../support/foreign-process.ts'
import { ServerSays } from '../support/hbone-pair.ts'
import { EventLoopScheduler, NodeSocket } from '../support/node-socket.ts'
import { PlainServer, pattern } from '../support/plain-http2.ts'

const scheduler = new EventLoopScheduler()
const resources = new SessionResources({ scheduler, allocateBlock: memoryBlock })
const authority = await TestAuthority.create()
const { certificatePem, privateKeyPem } = await authority.sign({
  trustDomain: 'cluster.local',
  namespace: 'test',
  serviceAccount: 'server',
})

/** Serves on loopback; gives the address without path. */
async function serve(t: Test, onSocket: (socket: Socket) => void): Promise<string> {
  const options = { cert: certificatePem, key: privateKeyPem, minVersion: 'TLSv1.3' } as const
  const server = createServer({ ...options, ALPNProtocols: ['h2'], noDelay: true }, onSocket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}` // as: it listens on an IP
}

interface Served {
  readonly url: string
  readonly sessions: H2Session[]
  readonly says: PlainServer[]
}

async function servePlain(t: Test, local: Partial<LocalSettings> = {}): Promise<Served> {
  const served = { sessions: [] as H2Session[], says: [] as PlainServer[] }
  const url = await serve(t, (socket) => {
    const handler = new PlainServer()
    const transport = new NodeSocket(socket, scheduler)
    served.says.push(handler)
    served.sessions.push(new H2Session({ role: 'server', transport, resources, handler, local }))
  })
  return { url, ...served }
}

async function nghttp(t: Test, ...args: string[]): Promise<Buffer> {
  const { code, stdout, stderr } = await runForeign('nghttp', ['--no-verify-peer', ...args])
  t.equal(code, 0, `nghttp ${args.filter((arg) => arg.length < 100).join(' ')} ${stderr}`)
  return stdout
}

/** Frames of a kind in the verbose output of nghttp. */
const count = (output: Buffer, what: RegExp): number => output.toString('latin1').match(what)?.length ?? 0

t.test('bodies of megabytes arrive whole under every window', async (t) => {
  const { url, says } = await servePlain(t)
  for (const windows of [[], ['-w', '10', '-W', '16'], ['-w', '30', '-W', '30']]) {
    const body = await nghttp(t, ...windows, `${url}/bytes/1000001`)
    t.equal(body.length, 1_000_001)
    t.ok(body.equals(pattern(1_000_001)), `byte for byte ${windows.join(' ')}`)
  }
  t.same(
    says.map(({ reason }) => reason?.code),
    ['OK', 'OK', 'OK'],
    'the end of each connection is in order',
  )
})

t.test('an upload comes back, with and without padding, before a trailer', async (t) => {
  const { url, says } = await servePlain(t)
  const file = join(t.testdir({}), 'upload')
  writeFileSync(file, pattern(2_000_003))
  for (const padding of [[], ['--padding=255']]) {
    const body = await nghttp(t, ...padding, '-d', file, '--trailer', 'x-sum: 42', `${url}/echo`)
    t.ok(body.equals(pattern(2_000_003)), `byte for byte ${padding.join('')}`)
  }
  t.same(
    says.map(({ exchanges }) => exchanges[0]?.trailers),
    [[['x-sum', '42']], [['x-sum', '42']]],
  )
})

t.test('header blocks larger than a frame are read and written', async (t) => {
  const { url, says } = await servePlain(t, { maxFrameBytes: DEFAULT_MAX_FRAME_BYTES })
  // Six fields of 4 KiB from nghttp, and eight that Huffman coding cannot shrink.
  const large = (count: number): string[] =>
    Array.from({ length: count }, (_, i) => ['-H', `x-big-${i}: ${'~'.repeat(4000)}${i}`]).flat()
  const output = await nghttp(t, '-v', '--continuation', ...large(8), `${url}/headers/40`)
  const [request = []] = says[0]?.requests ?? []
  for (let i = 0; i < 8; i++) {
    t.ok(request[request.indexOf(`x-big-${i}`) + 1] === `${'~'.repeat(4000)}${i}`, `field ${i} is whole`)
  }
  t.equal(request.filter((name) => name.startsWith('continuation-test-')).length, 6)
  const [, bytes] = /recv HEADERS frame <length=(\d+)/.exec(output.toString('latin1')) ?? []
  t.ok(Number(bytes) > 40_000, `nghttp put ${bytes} bytes of our frames together, at most 16,384 each`)
  t.equal(count(output, /recv \(stream_id=\d+\) x-large-\d+: \d{1000}/g), 40)
  const refused = await nghttp(t, '-v', '--continuation', ...large(10), `${url}/headers/40`)
  t.match(refused.toString(), /:status: 431/, 'a list over the announced limit is refused')
})

t.test('priorities are accepted and every size of header table is obeyed', async (t) => {
  const { url } = await servePlain(t)
  const sizes = [
    [],
    ['-c', '0'],
    ['-c', '0', '-c', '65536'],
    ['-c', '100'],
    ['--encoder-header-table-size=0'],
  ]
  for (const size of sizes) {
    const output = await nghttp(t, '-v', '-n', ...size, '-m', '20', '-H', 'x-asked: again', `${url}/bytes/10`)
    t.equal(count(output, /:status: 200/g), 20)
    t.equal(count(output, /x-repeated: the same/g), 20, `the table is in step ${size.join(' ')}`)
    t.ok(count(output, /send PRIORITY frame/g) >= 5, 'priority frames were sent')
  }
})

t.test('thousands of requests over connections that want more streams than allowed', async (t) => {
  const { url, says } = await servePlain(t)
  const args = ['-n', '4000', '-c', '4', '-m', '400', '-f', '1M', `${url}/bytes/5000`]
  const { code, stdout, stderr } = await runForeign('h2load', args)
  t.equal(code, 0, stderr)
  t.match(stdout.toString(), /requests: 4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed/)
  t.match(stdout.toString(), /status codes: 4000 2xx/)
  t.equal(
    says.reduce((sum, { requests }) => sum + requests.length, 0),
    4000,
  )
})

t.test('a drained connection finishes its requests after GOAWAY', async (t) => {
  const { url, says, sessions } = await servePlain(t)
  const asked = nghttp(t, '-v', '-n', '-w', '16', `${url}/bytes/4000000`)
  while (says[0]?.requests.length !== 1) await new Promise((resolve) => setImmediate(resolve))
  sessions[0]?.drain()
  const output = await asked
  t.match(output.toString('latin1'), /recv GOAWAY frame[\s\S]*error_code=NO_ERROR/)
  t.equal(count(output, /:status: 200/g), 1)
  t.match(output.toString('latin1'), /recv DATA frame <length=\d+, flags=0x01, stream_id=13>/, 'END_STREAM')
})

t.test(
  'the tunnel server refuses what is no CONNECT, and a malformed one ends its stream only',
  async (t) => {
    const says = new ServerSays()
    const url = await serve(t, (socket) => {
      const transport = new NodeSocket(socket, scheduler)
      new TunnelServer({ transport, resources, handler: says })
    })
    const plain = await nghttp(t, '-v', `${url}/`)
    t.match(plain.toString(), /:status: 400/)
    t.same(says.malformed, [`CONNECT_METHOD ${url.slice('https://'.length)}`])
    // nghttp cannot leave :path out: RFC 9113 §8.5 makes that a stream error.
    says.reason = null
    const malformed = await nghttp(t, '-v', '-H', ':method: CONNECT', `${url}/`)
    t.match(malformed.toString(), /recv RST_STREAM frame[\s\S]*error_code=PROTOCOL_ERROR/)
    t.notMatch(malformed.toString(), /recv GOAWAY/)
    t.equal(says.connects.length, 0)
  },
)
