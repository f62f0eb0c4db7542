// SPDX-License-Identifier: Apache-2.0
// The end of a TLS stream when the socket has no room for it. Bytes are put into the socket around TLS until it is
// exactly full, and taken out around TLS on the other side, so that nothing depends on sizes of kernel buffers.
import t from 'tap'
import { CLOSED_OK } from '../../../mesh/reactor/byte-stream.ts'
import { MSG_NOSIGNAL } from '../../../mesh/reactor/ffi/constants.ts'
import { read, send } from '../../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import type { TlsSocket } from '../../../mesh/reactor/tls-socket.ts'
import { TestAuthority } from '../../support/certificates.ts'
import {
  connectDescriptors,
  createUnixDescriptors,
  handshake,
  ignoringHandler,
  runUntil,
  settle,
} from '../../support/reactor-pairs.ts'

const authority = await TestAuthority.create()
const identity = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const end = { ...(await authority.sign(identity)), rootsPem: [authority.rootPem] }
const block = allocateBlock(65_536)

/** A pair whose near socket takes not one byte more. */
interface FullPair {
  readonly near: TlsSocket
  readonly far: TlsSocket
  /** What the far socket must read before it meets TLS again. */
  readonly foreignBytes: number
  readonly seen: string[]
}

function createFullPair(reactor: Reactor, descriptors: readonly [number, number]): FullPair {
  const { client, server } = handshake(reactor, end, end, 2000, descriptors)
  const [near, far] = [client.socket, server.socket]
  if (near === null || far === null) throw new Error('no handshake')
  const seen: string[] = []
  near.setHandler({ ...ignoringHandler, onClose: ({ code }) => seen.push(`near ${code}`) })
  far.setHandler({
    ...ignoringHandler,
    onEnd() {
      seen.push('far end')
      far.end()
    },
    onClose: ({ code }) => seen.push(`far ${code}`),
  })
  settle(reactor, () => false) // session tickets
  far.pause()
  return { near, far, foreignBytes: fill(reactor, near.fd), seen }
}

function fill(reactor: Reactor, fd: number): number {
  let total = 0
  // TCP takes more once the peer has acknowledged: it is full when it still is after a rest.
  for (let before = -1; before !== total; settle(reactor, () => false)) {
    before = total
    for (const size of [block.bytes.length, 1]) {
      for (let sent = 0; sent >= 0; total += Math.max(0, sent)) {
        sent = send(fd, block.address, size, MSG_NOSIGNAL)
      }
    }
  }
  return total
}

function takeForeign(reactor: Reactor, { far, foreignBytes }: FullPair): void {
  for (let left = foreignBytes; left > 0; reactor.runTurn(0)) {
    left -= Math.max(0, read(far.fd, block.address, Math.min(left, block.bytes.length)))
  }
}

// The seventeenth of the Unix pairs gets no staging buffer: it writes to its socket directly.
for (const [kind, count, connect] of [
  ['TCP', 1, connectDescriptors],
  ['Unix', 17, createUnixDescriptors],
] as const) {
  t.test(`${count} full ${kind} sockets: the end waits for room and is an end, not a cut`, async (t) => {
    const reactor = new Reactor()
    const pairs = Array.from({ length: count }, () => createFullPair(reactor, connect(reactor)))
    for (const { near } of pairs) near.end()
    settle(reactor, () => false)
    t.equal(reactor.runTurn(20), false, 'waiting for room makes no events')
    for (const pair of pairs) takeForeign(reactor, pair)
    for (const { far } of pairs) far.resume()
    runUntil(reactor, () => pairs.every(({ seen }) => seen.length === 3))
    for (const { seen } of pairs) t.same(seen.toSorted(), ['far OK', 'far end', 'near OK'])
    t.equal(reactor.runTurn(20), false)
    reactor.destroy()
  })
}

t.test('an end that finds no room is cut by its owner at any time', async (t) => {
  const reactor = new Reactor()
  const { near, far, seen } = createFullPair(reactor, createUnixDescriptors())
  near.end()
  settle(reactor, () => false)
  near.destroy({ code: 'SHUTDOWN', detail: 'the deadline of the owner' })
  settle(reactor, () => false)
  t.same(seen, ['near SHUTDOWN'])
  far.destroy(CLOSED_OK)
  settle(reactor, () => false)
  reactor.destroy()
})

t.test('a peer that ended and left makes our own end neither wait nor fail', async (t) => {
  for (const connect of [connectDescriptors, createUnixDescriptors]) {
    const reactor = new Reactor()
    const { client, server } = handshake(reactor, end, end, 2000, connect(reactor))
    const seen: string[] = []
    client.socket?.setHandler({
      ...ignoringHandler,
      onEnd() {
        seen.push('end')
        server.socket?.destroy(CLOSED_OK)
        reactor.inNextTurn(() => client.socket?.end())
      },
      onClose: ({ code }) => seen.push(code),
    })
    server.socket?.end()
    runUntil(reactor, () => seen.length === 2)
    t.same(seen, ['end', 'OK'])
    reactor.destroy()
  }
})

t.test('what a dead socket did not take never leaves through the socket that gets its buffer', async (t) => {
  const reactor = new Reactor()
  const dead = handshake(reactor, end, end, 2000, createUnixDescriptors())
  dead.client.socket?.pause()
  dead.server.socket?.destroy(CLOSED_OK)
  settle(reactor, () => false)
  dead.client.socket?.end()
  settle(reactor, () => false)
  t.equal(dead.client.failure, null, 'what it has not read keeps it open')
  let received = 0
  const pairs = Array.from({ length: 16 }, () => handshake(reactor, end, end, 2000, createUnixDescriptors()))
  for (const { client, server } of pairs) {
    server.socket?.setHandler({ ...ignoringHandler, onData: (_block, from, to) => (received += to - from) })
    client.socket?.write(block, 16, 116)
    reactor.runTurn(0)
  }
  runUntil(reactor, () => received === 1600)
  t.equal(received, 1600)
  reactor.destroy()
})
