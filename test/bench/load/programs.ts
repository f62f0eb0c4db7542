// SPDX-License-Identifier: Apache-2.0
// The load programs on loopback, as the benches start them: what they count is what a server saw.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import type { BulkSinkOptions } from '../../../bench/load/bulk-sink.ts'
import type { BulkSourceOptions, BulkSourceResult } from '../../../bench/load/bulk-source.ts'
import type { ChurnOptions, ChurnResult } from '../../../bench/load/churn.ts'
import type { Target } from '../../../bench/load/dial.ts'
import type { HoldOptions } from '../../../bench/load/hold.ts'
import type { OpenLoopOptions, OpenLoopResult } from '../../../bench/load/open-loop.ts'

const LOAD = join(import.meta.dirname, '..', '..', '..', 'bench', 'load')

function start(t: Test, program: string, options: object): ChildProcess {
  const args = ['--no-warnings', join(LOAD, `${program}.ts`), JSON.stringify(options)]
  const child = spawn(process.execPath, args, { env: {}, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

async function run<T>(t: Test, program: string, options: object): Promise<T> {
  const child = start(t, program, options)
  if (child.stdout === null || child.stderr === null) throw new Error('no pipes')
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  t.equal(errors, '')
  return JSON.parse(output) as T // as: the program's own answer
}

interface CountingServer {
  readonly target: Target
  connections: number
  requests: number
}

async function serve(t: Test, onRequest: (count: number) => void = () => {}): Promise<CountingServer> {
  const listener: RequestListener = (_request, response) => {
    onRequest(++counts.requests)
    response.end('hello\n')
  }
  const server = createServer(listener)
  const counts: CountingServer = { target: { ip: '127.0.0.1', port: 0 }, connections: 0, requests: 0 }
  server.on('connection', () => counts.connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo // as: it listens on TCP
  return Object.assign(counts, { target: { ip: '127.0.0.1', port } })
}

t.test('an open loop sends at its rate and answers come in time', async (t) => {
  const server = await serve(t)
  const options: OpenLoopOptions = {
    target: server.target,
    connections: 8,
    rate: 500,
    warmUpSeconds: 0.5,
    seconds: 0.5,
  }
  const result = await run<OpenLoopResult>(t, 'open-loop', options)
  t.equal(result.failure, '')
  t.equal(result.answeredShare, 1)
  t.ok(Math.abs(result.perSecond - 500) < 150, `${result.perSecond}`)
  t.ok(result.p50Micros > 0 && result.p50Micros <= result.p99Micros && result.p99Micros <= result.maxMicros)
  t.equal(server.connections, 8)
})

t.test('a stall is charged to everyone who was due meanwhile', async (t) => {
  const STALL_MS = 400
  const server = await serve(t, (count) => {
    if (count !== 300) return
    for (const endMs = performance.now() + STALL_MS; performance.now() < endMs; ) {} // a server that hangs
  })
  const options: OpenLoopOptions = {
    target: server.target,
    connections: 1,
    rate: 500,
    warmUpSeconds: 0.2,
    seconds: 0.8,
  }
  const { p50Micros, p99Micros, answeredShare } = await run<OpenLoopResult>(t, 'open-loop', options)
  t.equal(answeredShare, 1)
  // One connection: a closed loop would have seen a single slow request of 400.
  t.ok(p99Micros > (STALL_MS * 1000) / 2, `p99 ${p99Micros}`)
  t.ok(p99Micros > p50Micros)
})

t.test('rate 0 is a closed loop', async (t) => {
  const server = await serve(t)
  const options: OpenLoopOptions = {
    target: server.target,
    connections: 4,
    rate: 0,
    warmUpSeconds: 0.2,
    seconds: 1,
  }
  const { perSecond } = await run<OpenLoopResult>(t, 'open-loop', options)
  t.ok(perSecond > 10 && perSecond <= server.requests, `${perSecond}`)
})

t.test('churn opens a connection for every request', async (t) => {
  const server = await serve(t)
  const options: ChurnOptions = {
    target: server.target,
    clients: 4,
    sources: ['127.0.0.2', '127.0.0.3'],
    warmUpSeconds: 0,
    seconds: 1,
  }
  const result = await run<ChurnResult>(t, 'churn', options)
  t.equal(result.failures, 0, result.failure)
  t.ok(result.connections > 20)
  t.ok(server.requests >= result.connections && server.connections - result.connections <= 4)
})

t.test('churn counts what was refused and ends', async (t) => {
  const options: ChurnOptions = {
    target: { ip: '127.0.0.1', port: 1 },
    clients: 4,
    sources: [],
    warmUpSeconds: 0,
    seconds: 0.2,
  }
  const result = await run<ChurnResult>(t, 'churn', options)
  t.equal(result.connections, 0)
  t.ok(result.failures > 0)
  t.match(result.failure, /ENDPOINT_REFUSED/)
})

t.test('held connections stay open, one request each, until the program is ended', async (t) => {
  const server = await serve(t)
  const options: HoldOptions = { targets: [server.target], perTarget: 40, keeps: true }
  const child = start(t, 'hold', options)
  if (child.stdout === null) throw new Error('no pipe')
  const [line] = await once(child.stdout, 'data')
  t.equal(String(line), '{"connections":40}\n')
  t.equal(server.connections, 40)
  t.equal(server.requests, 40)
  t.equal(child.exitCode, null)
  child.kill('SIGTERM')
  await once(child, 'close')
})

t.test('bulk data arrives in full on every stream', async (t) => {
  const sinkOptions: BulkSinkOptions = { port: 0 }
  const sink = start(t, 'bulk-sink', sinkOptions)
  if (sink.stdout === null) throw new Error('no pipe')
  const [line] = await once(sink.stdout, 'data')
  const { port } = JSON.parse(String(line)) as { port: number } // as: the sink's answer
  const target = { ip: '127.0.0.1', port }
  const options: BulkSourceOptions = { target, streams: 3, seconds: 0.3, bytesPerSecond: 0 }
  const result = await run<BulkSourceResult>(t, 'bulk-source', options)
  t.equal(result.failure, '')
  t.ok(result.bytes > 1_000_000 && result.seconds >= 0.3 && result.seconds < 3, JSON.stringify(result))
  t.ok(result.leastShare > 0 && result.leastShare <= 1)
  const paced = { ...options, seconds: 1, bytesPerSecond: 6_000_000 }
  const slow = await run<BulkSourceResult>(t, 'bulk-source', paced)
  t.equal(slow.failure, '')
  const chunks = 3 * 262_144 // each stream is at most one ahead
  t.ok(slow.bytes > 2_000_000 && slow.bytes <= 6_000_000 + chunks, `${slow.bytes} bytes`)
  t.ok(slow.leastShare > 0.8, 'streams go at one pace')
})
