// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { CloseReason } from '../../../mesh/reactor/byte-stream.ts'
import { openHandles } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import type { SocketAddress } from '../../../mesh/reactor/socket-address.ts'
import {
  type Datagram,
  openDatagramSocket,
  UdpSocket,
  udpSocketCount,
} from '../../../mesh/reactor/udp-socket.ts'
import { poll } from '../../support/mesh-lab.ts'
import { runUntil } from '../../support/reactor-pairs.ts'

interface Received {
  readonly text: string
  readonly bytes: number
  readonly peer: SocketAddress
  readonly local: SocketAddress
  readonly isTruncated: boolean
}

/** A socket that keeps what it hears. */
class Recorder {
  readonly received: Received[] = []
  readonly errors: Array<{ readonly reason: CloseReason; readonly peer: SocketAddress }> = []
  readonly socket: UdpSocket
  onEach: (datagram: Datagram) => void = () => {}

  constructor(reactor: Reactor, ip: string, maxBytes?: number, receiveBufferBytes = 1_000_000) {
    const fd = openDatagramSocket(ip, 0, { receiveBufferBytes })
    this.socket = new UdpSocket(
      reactor,
      fd,
      {
        onDatagram: (datagram) => {
          const { block, start, end, peer, local, isTruncated } = datagram
          const text = block.bytes.toString('latin1', start, Math.min(end, start + 20))
          this.received.push({ text, bytes: end - start, peer, local, isTruncated })
          this.onEach(datagram)
        },
        onUndelivered: (reason, peer) => this.errors.push({ reason, peer }),
      },
      maxBytes,
    )
  }

  say(text: string, peer: SocketAddress): string {
    const block = allocateBlock(text.length + 16)
    block.bytes.write(text, 16, 'latin1')
    return this.socket.send(block, 16, 16 + text.length, peer)
  }
}

for (const [ip, other] of [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['::', '127.0.0.1'],
  ['0.0.0.0', '127.0.0.9'],
] as const) {
  t.test(`a question to ${other} on a socket of ${ip} is answered from where it went`, async (t) => {
    const reactor = new Reactor()
    const server = new Recorder(reactor, ip)
    const client = new Recorder(reactor, other.includes(':') ? '::1' : '127.0.0.1')
    server.onEach = ({ block, start, end, peer, local }) => {
      t.equal(server.socket.send(block, start, end, peer, local), 'sent')
    }
    const port = server.socket.local.port
    t.equal(client.say('hello', { ip: other, port }), 'sent')
    runUntil(reactor, () => client.received.length === 1)
    const from = client.socket.local
    t.match(server.received, [{ text: 'hello', peer: from, local: { ip: other, port }, isTruncated: false }])
    t.match(client.received, [{ text: 'hello', peer: { ip: other, port } }])
  })
}

t.test('the largest and the empty datagram arrive whole, a longer one than wanted says so', async (t) => {
  const reactor = new Reactor()
  const server = new Recorder(reactor, '127.0.0.1')
  const small = new Recorder(reactor, '127.0.0.1', 512)
  const client = new Recorder(reactor, '127.0.0.1')
  for (const size of [65_507, 0, 1]) t.equal(client.say('x'.repeat(size), server.socket.local), 'sent')
  for (const size of [512, 513]) client.say('y'.repeat(size), small.socket.local)
  runUntil(reactor, () => server.received.length === 3 && small.received.length === 2)
  t.same(
    server.received.map((it) => [it.bytes, it.isTruncated]),
    [
      [65_507, false],
      [0, false],
      [1, false],
    ],
  )
  t.same(
    small.received.map((it) => [it.bytes, it.isTruncated]),
    [
      [512, false],
      [512, true],
    ],
  )
  t.equal(client.say('z'.repeat(65_508), server.socket.local), 'failed')
  t.match(client.socket.lastFailure, { code: 'CONNECT_FAILED', detail: 'Message too long' })
})

t.test('a turn takes 64 datagrams at most, and none is lost over it', async (t) => {
  const reactor = new Reactor()
  const server = new Recorder(reactor, '127.0.0.1')
  const client = new Recorder(reactor, '127.0.0.1')
  for (let i = 0; i < 200; i++) client.say(String(i), server.socket.local)
  const perTurn: number[] = []
  while (server.received.length < 200 && perTurn.length < 20) {
    const before = server.received.length
    reactor.runTurn(50)
    perTurn.push(server.received.length - before)
  }
  t.same(perTurn, [64, 64, 64, 8])
  t.same(
    server.received.map((it) => Number(it.text)),
    Array.from({ length: 200 }, (_, i) => i),
  )
  t.equal(server.received[0]?.peer, server.received[199]?.peer, 'one address object for one peer')
})

for (const ip of ['127.0.0.1', '::1']) {
  t.test(`a port of ${ip} where nobody listens is reported, and the socket goes on`, async (t) => {
    const reactor = new Reactor()
    const client = new Recorder(reactor, ip)
    const server = new Recorder(reactor, ip)
    const gone = new Recorder(reactor, ip)
    const nobody = gone.socket.local
    gone.socket.close()
    reactor.runTurn(0)
    client.say('anybody?', nobody)
    runUntil(reactor, () => client.errors.length > 0)
    t.same(client.errors, [
      { reason: { code: 'ENDPOINT_REFUSED', detail: 'Connection refused' }, peer: nobody },
    ])
    client.say('anybody?', nobody)
    t.equal(client.say('hello', server.socket.local), 'sent', 'also while an error waits to be told')
    runUntil(reactor, () => server.received.length === 1 && client.errors.length === 2)
    t.equal(server.received[0]?.text, 'hello')
    t.equal(client.received.length, 0)
  })
}

t.test('a datagram goes out however many earlier ones have come back meanwhile', async (t) => {
  const reactor = new Reactor()
  const client = new Recorder(reactor, '127.0.0.1')
  const server = new Recorder(reactor, '127.0.0.1')
  const gone = new Recorder(reactor, '127.0.0.1')
  const nobody = gone.socket.local
  gone.socket.close()
  reactor.runTurn(0)
  // Another thread sends by the same descriptor to where nobody is: what comes back meets our calls.
  const isOver = new Int32Array(new SharedArrayBuffer(8))
  const other = new Worker(
    `import { parentPort, workerData } from 'node:worker_threads'
    const { fd, peer, isOver, libc, addresses } = workerData
    const { sendto } = await import(libc)
    const { encodeSocketAddress } = await import(addresses)
    const to = encodeSocketAddress(peer.ip, peer.port)
    while (Atomics.load(isOver, 0) === 0) {
      sendto(fd, to.address, 1, 0, to.address, to.bytes)
      Atomics.store(isOver, 1, 1)
    }`,
    {
      eval: true,
      workerData: {
        ...{ fd: client.socket.fd, peer: nobody, isOver },
        libc: import.meta.resolve('../../../mesh/reactor/ffi/libc.ts'),
        addresses: import.meta.resolve('../../../mesh/reactor/socket-address.ts'),
      },
    },
  )
  await poll('the other thread', () => Atomics.load(isOver, 1) === 1 || null)
  const outcomes = Array.from({ length: 3000 }, () => client.say('hello', server.socket.local))
  Atomics.store(isOver, 0, 1)
  await once(other, 'exit')
  t.same(
    outcomes.filter((outcome) => outcome !== 'sent'),
    [],
  )
})

t.test('an address without a route fails at once', async (t) => {
  const reactor = new Reactor()
  const client = new Recorder(reactor, '127.0.0.1')
  t.equal(client.say('x', { ip: '192.0.2.1', port: 53 }), 'failed')
  t.not(client.socket.lastFailure, null)
})

t.test('a socket may be closed by its own callback, with datagrams and errors still waiting', async (t) => {
  const reactor = new Reactor()
  const before = readdirSync('/proc/self/fd').length
  const open = openHandles().descriptor
  const sockets = udpSocketCount.open
  const server = new Recorder(reactor, '127.0.0.1')
  const client = new Recorder(reactor, '127.0.0.1')
  for (let i = 0; i < 5; i++) client.say(String(i), server.socket.local)
  server.onEach = () => {
    server.socket.close()
    server.socket.close()
  }
  runUntil(reactor, () => server.received.length > 0)
  t.equal(server.received.length, 1)
  t.equal(server.say('late', client.socket.local), 'dropped')
  client.socket.close()
  reactor.runTurn(0)
  t.equal(readdirSync('/proc/self/fd').length, before)
  t.equal(openHandles().descriptor, open)
  t.equal(udpSocketCount.open, sockets)
})

t.test('a socket that cannot be bound or marked leaves nothing behind', async (t) => {
  const reactor = new Reactor()
  const taken = new Recorder(reactor, '127.0.0.1')
  const before = readdirSync('/proc/self/fd').length
  t.throws(() => openDatagramSocket('127.0.0.1', taken.socket.local.port), {
    code: 'PORT_TAKEN',
    detail: /bind 127\.0\.0\.1:\d+ udp: Address already in use/,
  })
  const prepare = (): void => {
    throw new Error('planted')
  }
  t.throws(() => openDatagramSocket('127.0.0.1', 0, { prepare }), { message: 'planted' })
  t.equal(readdirSync('/proc/self/fd').length, before)
})
