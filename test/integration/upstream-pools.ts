// SPDX-License-Identifier: Apache-2.0
// A cluster of a waypoint on real sockets, before Node's own servers.
import { createServer, type Server } from 'node:http'
import { createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo, Server as TcpServer } from 'node:net'
import { setImmediate as nextTick } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { Block } from '../../mesh/reactor/byte-stream.ts'
import { SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { createSocket } from '../../mesh/reactor/socket-options.ts'
import { startConnect } from '../../mesh/reactor/tcp-connect.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { Cluster } from '../../waypoint/upstream/cluster.ts'
import type { ClusterView, EndpointView, HttpVersion } from '../../waypoint/upstream/cluster-view.ts'
import type { OpenRequest } from '../../waypoint/upstream/open-attempt.ts'
import {
  type AttemptOutcome,
  DEFAULT_RETRY_POLICY,
  refusedOutcome,
} from '../../waypoint/upstream/retry-policy.ts'
import { get } from '../support/http1-pair.ts'
import { ignoringHandler } from '../support/reactor-pairs.ts'
import { endpoint, policy, view } from '../support/upstream-lab.ts'

/** How a request ended. */
interface Ended {
  readonly key: string
  readonly status: string
  readonly body: string
  readonly attempts: number
}

/** A reactor with one cluster; requests are retried as the default policy says. */
class ClusterUnderTest {
  readonly reactor = new Reactor()
  readonly cluster: Cluster
  connectCount = 0
  #isClosed = false

  constructor(t: Test, first: ClusterView) {
    this.cluster = new Cluster({
      view: first,
      resources: new SessionResources({ scheduler: this.reactor, allocateBlock }),
      random: Math.random,
      dial: ({ ip, port }, callback) => {
        this.connectCount++
        return startConnect(this.reactor, createSocket(2, SOCK_STREAM), ip, port, 5_000, {
          onConnected: (fd) => {
            this.reactor.unwatch(fd)
            callback(new TcpSocket(this.reactor, fd, ignoringHandler))
          },
          onConnectFailed: ({ code, detail }) => callback({ kind: 'refusal', code, detail }),
        })
      },
    })
    const done = this.#run()
    t.teardown(async () => {
      this.cluster.close({ code: 'SHUTDOWN', detail: '' })
      this.#isClosed = true
      await done
    })
  }

  async #run(): Promise<void> {
    while (!this.#isClosed || this.cluster.status().connections > 0) {
      this.reactor.runTurn(0)
      await nextTick()
    }
    this.reactor.destroy()
  }

  ask(path: string, version: HttpVersion = 'http1', facts: Partial<OpenRequest> = {}): Promise<Ended> {
    return new Promise((resolve) => this.#attempt(path, version, facts, 1, new Set(), resolve))
  }

  #attempt(
    path: string,
    version: HttpVersion,
    facts: Partial<OpenRequest>,
    attempts: number,
    exclude: Set<string>,
    resolve: (ended: Ended) => void,
  ): void {
    const again = (outcome: AttemptOutcome, key: string, code: string): void => {
      const known = { attempts, canReplay: true, isAnswerStarted: false, isIdempotent: true }
      const retry = this.cluster.retry(DEFAULT_RETRY_POLICY, outcome, known)
      if (typeof retry === 'string') {
        resolve({ key, status: code, body: '', attempts })
        return
      }
      exclude.add(key)
      this.reactor.startTimer(retry.afterMs, () =>
        this.#attempt(path, version, facts, attempts + 1, exclude, (ended) => {
          retry.place.giveBack()
          resolve(ended)
        }),
      )
    }
    const request: OpenRequest = {
      ...{ headers: get(path), isEnd: true, version, hash: null, exclude, stickyKey: null, askedIp: null },
      ...facts,
    }
    this.cluster.open(request, {
      onStream: (stream, exchange) => {
        let [status, body] = ['', '']
        stream.headersHandler = {
          onHeaders: (_, headers) => {
            status ||= headers[1] ?? ''
            exchange.answered(Number(status), null)
          },
        }
        stream.setHandler({
          onData: (block: Block, start: number, end: number) => {
            body += block.bytes.toString('latin1', start, end)
          },
          onEnd() {},
          onDrain() {},
          onClose: (reason) => {
            const { key } = exchange.endpoint
            const outcome = status === '' ? exchange.failed(reason) : null
            exchange.end()
            if (outcome !== null) again(outcome, key, reason.code)
            else resolve({ key, status: reason.code === 'OK' ? status : reason.code, body, attempts })
          },
        })
        if (!request.isEnd) stream.end()
      },
      onRefused: (refusal, by) => again(refusedOutcome(by), by?.key ?? '', refusal.code),
    })
  }
}

async function listen(t: Test, server: TcpServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port // as: it listens on TCP
}

/** Counts its connections and requests. */
async function httpServer(
  t: Test,
  name: string,
): Promise<{
  readonly server: Server
  readonly at: EndpointView
  counts: { connections: number; requests: number }
}> {
  const counts = { connections: 0, requests: 0 }
  const server = createServer((message, response) => {
    counts.requests++
    if (message.url === '/gone') message.socket.destroy()
    else if (message.url === '/half') {
      response.writeHead(200, { 'content-length': 1_000 }).write('half')
      setImmediate(() => message.socket.destroy())
    } else if (message.url === '/busy') response.writeHead(503).end()
    else response.end(`${name} ${message.url}`)
  })
  server.on('connection', () => void counts.connections++)
  t.teardown(() => server.closeAllConnections())
  return { server, at: endpoint(name, { ip: '127.0.0.1', port: await listen(t, server) }), counts }
}

t.test('many requests at once share few connections, and every endpoint has its part', async (t) => {
  const servers = await Promise.all(['a', 'b', 'c'].map((name) => httpServer(t, name)))
  const pool = { maxConnections: 12 }
  const lab = new ClusterUnderTest(
    t,
    view(
      servers.map(({ at }) => at),
      { policy: policy({ pool }) },
    ),
  )
  const ended = await Promise.all(Array.from({ length: 600 }, (_, i) => lab.ask(`/${i}`)))
  t.same([...new Set(ended.map(({ status }) => status))], ['200'])
  t.ok(
    ended.every(({ key, body }, i) => body === `${key} /${i}`),
    'everybody got its own answer',
  )
  t.ok(lab.connectCount <= 12, `${lab.connectCount} connections`)
  for (const { counts } of servers) t.ok(counts.requests > 100, `${counts.requests} of 600`)
  t.equal(lab.cluster.status().requests, 0)
  t.equal(lab.cluster.status().pending, 0)
})

t.test('servers that end kept connections between two requests lose none', async (t) => {
  const { server, at, counts } = await httpServer(t, 'a')
  const lab = new ClusterUnderTest(t, view([at]))
  for (let round = 0; round < 30; round++) {
    const ended = await Promise.all([lab.ask('/1'), lab.ask('/2')])
    t.same(
      ended.map(({ status }) => status),
      ['200', '200'],
    )
    server.closeAllConnections() // the next request may go out before the end has come
  }
  t.ok(counts.connections > 30, `${counts.connections} connections`)
})

t.test('what the servers do is told: cut before, and in the middle of, an answer', async (t) => {
  const { at } = await httpServer(t, 'a')
  const lab = new ClusterUnderTest(t, view([at]))
  t.equal((await lab.ask('/gone')).status, 'PEER_RESET')
  t.same(await lab.ask('/half'), { key: 'a', status: 'PEER_RESET', body: 'half', attempts: 1 })
  t.equal((await lab.ask('/ok')).body, 'a /ok')
})

t.test('a port where nobody listens costs nobody a request, and is ejected', async (t) => {
  const [dead, alive] = [await httpServer(t, 'dead'), await httpServer(t, 'alive')]
  await new Promise((resolve) => dead.server.close(resolve))
  const outlier = { consecutive5xx: 3, maxEjectionPercent: 50 }
  const lab = new ClusterUnderTest(t, view([dead.at, alive.at], { policy: policy({ outlier }) }))
  for (let i = 0; i < 40; i++) t.same((await lab.ask('/')).status, '200')
  t.same(
    lab.cluster.status().endpoints.map(({ state }) => state),
    ['ejected', 'in-use'],
  )
  t.equal(lab.cluster.status().endpoints[0]?.failureCount, 3)
  t.equal(lab.cluster.status().retries, 0)
})

t.test('an endpoint that answers 503 is ejected; while all do, one is left', async (t) => {
  const [a, b] = [await httpServer(t, 'a'), await httpServer(t, 'b')]
  const outlier = { consecutive5xx: 0, consecutiveGatewayErrors: 2, maxEjectionPercent: 100 }
  const lab = new ClusterUnderTest(t, view([a.at, b.at], { policy: policy({ outlier }) }))
  for (let i = 0; i < 10; i++) await lab.ask('/busy')
  t.equal(lab.cluster.status().endpoints.filter(({ state }) => state === 'ejected').length, 1)
  t.equal((await lab.ask('/')).status, '200')
})

t.test('endpoints that come and go under load: not one request fails', async (t) => {
  const servers = await Promise.all(['a', 'b', 'c'].map((name) => httpServer(t, name)))
  const sets = [[0, 1, 2], [1], [0, 2], [2], [0, 1]]
  const viewOf = (index: number) =>
    view(sets[index % sets.length]?.flatMap((i) => servers[i]?.at ?? []) ?? [])
  const lab = new ClusterUnderTest(t, viewOf(0))
  const statuses = new Set<string>()
  const caller = async (): Promise<void> => {
    for (let i = 0; i < 60; i++) statuses.add((await lab.ask(`/${i}`)).status)
  }
  let isDone = false
  const callers = Promise.all(Array.from({ length: 20 }, caller)).then(() => {
    isDone = true
  })
  for (let index = 1; !isDone; index++) {
    lab.cluster.update(viewOf(index))
    await nextTick()
    await nextTick()
  }
  await callers
  t.same([...statuses], ['200'])
})

t.test('HTTP/2: one connection for many, a new one after GOAWAY, streams that are refused', async (t) => {
  const sessions: ServerHttp2Session[] = []
  let refused = 0
  const server = createHttp2Server({ settings: { maxConcurrentStreams: 50 } })
  server.on('session', (session) => sessions.push(session))
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    if (headers[':path'] === '/refused' && refused++ === 0) stream.close(7)
    else stream.respond({ ':status': 200 }) // SPEC RFC9113 §7: 7 is REFUSED_STREAM
    if (!stream.closed) stream.end(`${headers[':path']}`)
  })
  t.teardown(() => {
    for (const session of sessions) session.destroy()
  })
  const at = endpoint('h2', { ip: '127.0.0.1', port: await listen(t, server) })
  const lab = new ClusterUnderTest(t, view([at]))
  await lab.ask('/first', 'http2')
  const ended = await Promise.all(Array.from({ length: 40 }, (_, i) => lab.ask(`/${i}`, 'http2')))
  t.ok(ended.every(({ status, body }, i) => status === '200' && body === `/${i}`))
  t.equal(lab.connectCount, 1)
  const many = await Promise.all(Array.from({ length: 120 }, (_, i) => lab.ask(`/${i}`, 'http2')))
  t.ok(many.every(({ status }) => status === '200'))
  t.ok(lab.connectCount <= 4, `${lab.connectCount} connections for 120 requests, 50 on each`)
  for (const session of sessions) session.close()
  t.equal((await lab.ask('/after', 'http2')).status, '200')
  t.same(await lab.ask('/refused', 'http2'), { key: 'h2', status: '200', body: '/refused', attempts: 2 })
})
