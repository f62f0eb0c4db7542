// SPDX-License-Identifier: Apache-2.0
// Our HTTP/2 client against nghttpd over TLS 1.3: downloads and echoes under small and large windows, padding, header
// tables, trailers, many streams, and a server that is stopped.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { H2Session } from '../../mesh/h2/session.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { LocalSettings } from '../../mesh/h2/settings.ts'
import { TunnelClient } from '../../mesh/hbone/tunnel-client.ts'
import { memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { TestAuthority } from '../support/certificates.ts'
import { ForeignProcess, freePort } from '../support/foreign-process.ts'
import { ClientSays, Outcome } from '../support/hbone-pair.ts'
import { poll } from '../support/mesh-lab.ts'
import { EventLoopScheduler, NodeSocket } from '../support/node-socket.ts'
import { PlainRequest, PlainServer, pattern } from '../support/plain-http2.ts'

const FILE_BYTES = 3_000_001
const scheduler = new EventLoopScheduler()
const resources = new SessionResources({ scheduler, allocateBlock: memoryBlock })
const authority = await TestAuthority.create()
const { certificatePem, privateKeyPem } = await authority.sign({
  trustDomain: 'cluster.local',
  namespace: 'test',
  serviceAccount: 'server',
})

interface Nghttpd {
  readonly process: ForeignProcess
  readonly port: number
}

/** Starts nghttpd with a large file and waits until it listens. */
async function startNghttpd(t: Test, ...args: string[]): Promise<Nghttpd> {
  const port = await freePort()
  const directory = t.testdir({ 'key.pem': privateKeyPem, 'certificate.pem': certificatePem, small: 'small' })
  writeFileSync(join(directory, 'large'), pattern(FILE_BYTES))
  const files = [join(directory, 'key.pem'), join(directory, 'certificate.pem')]
  const options = ['-v', '-a', '127.0.0.1', '-d', directory, '--echo-upload', ...args]
  const process = new ForeignProcess('nghttpd', [...options, String(port), ...files])
  t.teardown(() => process.stop())
  await process.until('listening', () => process.log.includes('listen') || null)
  return { process, port }
}

async function transportTo(t: Test, port: number): Promise<NodeSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port,
    ca: authority.rootPem,
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.3',
    checkServerIdentity: () => undefined, // mesh certificates name no host
  })
  await once(socket, 'secureConnect')
  socket.setNoDelay(true)
  t.teardown(() => socket.destroy())
  t.equal(socket.alpnProtocol, 'h2')
  return new NodeSocket(socket, scheduler)
}

/** A session whose SETTINGS have been exchanged, and what it says. */
async function openSession(t: Test, port: number, local: Partial<LocalSettings> = {}) {
  const says = new PlainServer()
  let isReady = false
  says.onPeerSettings = () => {
    isReady = true
  }
  const transport = await transportTo(t, port)
  const session = new H2Session({ role: 'client', transport, resources, handler: says, local })
  await poll('SETTINGS', () => isReady || null)
  return { session, says }
}

async function answer(request: PlainRequest): Promise<PlainRequest> {
  await poll('an answer', () => request.reason !== null || null)
  return request
}

t.test('downloads and echoes arrive whole whatever windows and padding either side chose', async (t) => {
  const windows = [{}, { streamWindowBytes: 16_384, connectionWindowBytes: 65_535, maxFrameBytes: 16_384 }]
  for (const args of [
    ['-b', '200', '-w', '14', '-W', '16'],
    ['-w', '30', '-W', '30'],
  ]) {
    const { port, process } = await startNghttpd(t, ...args)
    for (const local of windows) {
      const { session } = await openSession(t, port, local)
      const [file, echo] = await Promise.all([
        answer(new PlainRequest(session, '/large')),
        answer(new PlainRequest(session, '/echo', pattern(1_000_003))),
      ])
      t.match(
        [file, echo],
        [
          { status: '200', reason: { code: 'OK' } },
          { status: '200', reason: { code: 'OK' } },
        ],
      )
      t.ok(file.body.equals(pattern(FILE_BYTES)), `the file ${args.join(' ')} ${JSON.stringify(local)}`)
      t.ok(echo.body.equals(pattern(1_000_003)), 'the echo')
      session.drain()
    }
    await process.stop()
  }
})

t.test('header tables of every size stay in step over many streams, and no push is sent', async (t) => {
  const sizes = [[], ['-c', '0'], ['-c', '100', '--encoder-header-table-size=65536'], ['-m', '7']]
  for (const args of [...sizes, ['-p', '/small=/large']]) {
    const { port, process } = await startNghttpd(t, ...args)
    const { session } = await openSession(t, port)
    t.equal(session.peerMaxConcurrentStreams, args[0] === '-m' ? 7 : 100)
    let answered = 0
    while (answered < 300) {
      const round: PlainRequest[] = []
      while (session.openStreamCount < session.peerMaxConcurrentStreams) {
        const headers = [
          'x-repeated',
          `group ${answered % 3}`,
          'x-different',
          `number ${answered + round.length}`,
        ]
        round.push(new PlainRequest(session, '/small', null, headers))
      }
      t.ok(new PlainRequest(session, '/small').isRefused, 'the limit of the server is kept')
      for (const request of round) {
        await answer(request)
        if (request.status === '200' && request.body.toString() === 'small') answered++
      }
      if (round.some(({ status }) => status !== '200')) break
    }
    t.ok(answered >= 300, `answered ${answered} ${args.join(' ')}`)
    t.ok(process.log.includes('x-different: number 299'), 'nghttpd read the last one')
    t.notMatch(process.log, /send PUSH_PROMISE/)
    session.drain()
    await process.stop()
  }
})

t.test('a request of several header frames is read, and trailers arrive', async (t) => {
  const { port, process } = await startNghttpd(t, '--trailer', 'x-sum: 42')
  const { session } = await openSession(t, port)
  const fields = Array.from({ length: 12 }, (_, i) => [`x-big-${i}`, `${'~'.repeat(3000)}${i}`]).flat()
  const request = await answer(new PlainRequest(session, '/small', null, fields))
  t.match(request, { status: '200', reason: { code: 'OK' } })
  t.same(request.headers.at(-1), ['x-sum', '42'])
  t.equal(process.log.match(/recv \(stream_id=1\) x-big-\d+: ~{3000}\d/g)?.length, 12)
  const [, bytes] = /recv HEADERS frame <length=(\d+)/.exec(process.log) ?? []
  t.ok(Number(bytes) > 2 * 16_384, `a block of ${bytes} bytes`)
})

t.test('what is no tunnel is refused with the status, and a stopped server ends the tunnel', async (t) => {
  const { port, process } = await startNghttpd(t, '--early-response')
  const says = new ClientSays()
  const client = new TunnelClient({ transport: await transportTo(t, port), resources, handler: says })
  const outcome = new Outcome()
  client.openConnect({ authority: '10.0.0.7:80' }, outcome)
  await poll('an outcome', () => outcome.isDecided || null)
  t.match(outcome.refusal, { code: 'TUNNEL_REFUSED' })
  t.equal(client.state, 'ready', 'the tunnel goes on')
  const waiting = new Outcome()
  const stream = client.openConnect({ authority: '10.0.0.8:80' }, waiting)
  t.ok('cancel' in stream)
  await process.kill()
  await poll('the end', () => says.reason)
  t.ok(waiting.isDecided, 'no stream is left undecided')
  t.not(says.reason?.code, 'INTERNAL')
})
