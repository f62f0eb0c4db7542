// SPDX-License-Identifier: Apache-2.0
// A pod that asks by TCP: well, in pieces, with lengths that lie, and without end; real sockets on loopback. That
// connections reach the resolver the pod chose: test/netns/ztunnel-dns.ts.
import t from 'tap'
import type { ByteStreamHandler } from '../../../mesh/reactor/byte-stream.ts'
import { TcpSocket } from '../../../mesh/reactor/tcp-socket.ts'
import { RESOLVE_DEADLINE_MS } from '../../../ztunnel/carry/destinations.ts'
import { FrameReader } from '../../../ztunnel/dns/dns-frames.ts'
import { DnsServer } from '../../../ztunnel/dns/dns-server.ts'
import { DNS_TIMEOUT_MS, MAX_DNS_CONNECTIONS } from '../../../ztunnel/dns/limits.ts'
import { DnsPod, framed, question } from '../../support/dns-pod.ts'
import { connectDescriptors, runUntil, settle } from '../../support/reactor-pairs.ts'

const SERVFAIL = 2

/** One client of a server. */
class Client implements ByteStreamHandler {
  readonly socket: TcpSocket
  /** `id rcode` of each answer. */
  readonly answers: string[] = []
  hasEnded = false
  isClosed = false
  readonly #pod: DnsPod
  readonly #frames = new FrameReader((bytes, start) => {
    this.answers.push(`${bytes.readUInt16BE(start + 2)} ${(bytes[start + 5] ?? 0) & 15}`)
  })

  constructor(pod: DnsPod, server: DnsServer) {
    this.#pod = pod
    const [near, far] = connectDescriptors(pod.reactor)
    this.socket = new TcpSocket(pod.reactor, near, this)
    server.accept(far, () => {
      this.isClosed = true
    })
  }

  write(bytes: Buffer): void {
    const { scratch } = this.#pod.resources
    bytes.copy(scratch.bytes, 64)
    this.socket.write(scratch, 64, 64 + bytes.length)
  }

  onData({ bytes }: { readonly bytes: Buffer }, start: number, end: number): void {
    this.#frames.read(bytes, start, end)
  }
  onEnd(): void {
    this.hasEnded = true
  }
  onDrain(): void {}
  onClose(): void {
    this.hasEnded = true
  }
}

function openLab() {
  const pod = new DnsPod()
  const server = new DnsServer(pod.pod, pod.resources)
  return {
    pod,
    server,
    connect: () => new Client(pod, server),
    run: (isDone: () => boolean) => runUntil(pod.reactor, isDone),
  }
}

t.test('questions in one piece and in single bytes are answered by their ids', async (t) => {
  const { pod, server, connect, run } = openLab()
  const client = connect()
  client.write(Buffer.concat([framed(question(1, 'cart')), framed(question(2, 'cart'))]))
  for (const byte of framed(question(3, 'cart'))) {
    client.write(Buffer.of(byte))
    pod.reactor.runTurn(1)
  }
  run(() => pod.asked.length > 0)
  t.same(pod.asked, ['cart'], 'main is asked once')
  server.names.learn('cart', 1, [{ kind: 'A', name: null, bytes: Uint8Array.of(10, 96, 0, 10) }])
  run(() => client.answers.length === 3)
  t.same(client.answers, ['1 0', '2 0', '3 0'])
  client.socket.end()
  run(() => client.isClosed)
  t.equal(pod.connections.size, 0)
})

t.test('what is too short for a message ends the connection, and no other one', async (t) => {
  const { pod, connect, run } = openLab()
  const other = connect()
  for (const length of [0, 1, 11]) {
    const client = connect()
    client.write(Buffer.concat([framed(Buffer.alloc(length)), framed(question(1))]))
    run(() => client.isClosed)
    t.ok(client.isClosed)
    t.same(client.answers, [], 'nothing of what follows is taken')
  }
  t.ok(pod.hasCounted('DNS_MALFORMED'))
  t.notOk(other.hasEnded)
})

t.test('a message without anybody to ask is SERVFAIL, also one that is garbage', async (t) => {
  const { pod, server, connect, run } = openLab()
  const client = connect()
  client.write(framed(question(1, 'www.example.org')))
  client.write(framed(Buffer.from('0002010000010000000000003f41', 'hex')))
  run(() => pod.asked.length > 0)
  server.names.learn('www.example.org', 1, null)
  run(() => client.answers.length === 2)
  t.same(client.answers.toSorted(), [`1 ${SERVFAIL}`, `2 ${SERVFAIL}`])
  t.ok(pod.hasCounted('DNS_RESOLVER_UNKNOWN'))
})

t.test('names that main does not answer are SERVFAIL, each once, and bounded', async (t) => {
  const { pod, connect } = openLab()
  const client = connect()
  const count = 400
  for (let id = 1; id <= count; id++) client.write(framed(question(id, `n${id}.shop`)))
  runUntil(pod.reactor, () => client.answers.length === count, RESOLVE_DEADLINE_MS + 2_000)
  t.equal(new Set(client.answers).size, count)
  t.ok(client.answers.every((each) => each.endsWith(` ${SERVFAIL}`)))
  t.ok(pod.asked.length <= 256, `${pod.asked.length} were asked of main`)
  t.ok(pod.hasCounted('LIMIT_POD') && pod.hasCounted('MODEL_TIMEOUT'))
})

t.test('one connection too many is closed, its place is free when another one goes', async (t) => {
  const { pod, connect, run } = openLab()
  const clients = Array.from({ length: MAX_DNS_CONNECTIONS }, connect)
  const extra = connect()
  run(() => extra.isClosed)
  t.ok(extra.isClosed)
  t.notOk(clients.some(({ isClosed }) => isClosed))
  clients[0]?.socket.destroy({ code: 'SHUTDOWN', detail: 'test' })
  run(() => clients[0]?.isClosed === true)
  const next = connect()
  settle(pod.reactor, () => false)
  t.notOk(next.isClosed)
})

t.test(
  'a length that promises what never comes holds the connection for its time only',
  { timeout: 15_000 },
  async (t) => {
    const { pod, connect } = openLab()
    const liars = [framed(Buffer.alloc(3), 65_535), Buffer.of(0), Buffer.alloc(0)].map((bytes) => {
      const client = connect()
      if (bytes.length > 0) client.write(bytes)
      return client
    })
    const startMs = performance.now()
    runUntil(pod.reactor, () => liars.every(({ hasEnded }) => hasEnded), DNS_TIMEOUT_MS * 2)
    t.ok(performance.now() - startMs > DNS_TIMEOUT_MS - 200)
    t.ok(liars.every(({ hasEnded, answers }) => hasEnded && answers.length === 0))
  },
)
