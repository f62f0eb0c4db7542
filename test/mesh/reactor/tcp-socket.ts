// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import t from 'tap'
import { SHUT_WR } from '../../../mesh/reactor/ffi/constants.ts'
import { E, shutdown } from '../../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { HELD_EASY_BYTES, HELD_MUCH_BYTES, LEAST_READ_BYTES } from '../../../mesh/reactor/held-bytes.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { reasonOfErrno, TcpSocket } from '../../../mesh/reactor/tcp-socket.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { failSystemCall } from '../../support/errno-injection.ts'
import { connectDescriptors, runUntil, settle } from '../../support/reactor-pairs.ts'

interface Pair {
  readonly reactor: Reactor
  readonly near: TcpSocket
  readonly far: TcpSocket
  readonly nearHandler: RecordingHandler
  readonly farHandler: RecordingHandler
}
function createPair(): Pair {
  const reactor = new Reactor()
  const [client, server] = connectDescriptors(reactor)
  const [nearHandler, farHandler] = [new RecordingHandler(), new RecordingHandler()]
  const near = new TcpSocket(reactor, client, nearHandler)
  const far = new TcpSocket(reactor, server, farHandler)
  return { reactor, near, far, nearHandler, farHandler }
}
const block = allocateBlock(1_000_016)
for (let i = 0; i < block.bytes.length; i++) block.bytes[i] = (i * 7) & 255
const write = (stream: TcpSocket, bytes: number): boolean => stream.write(block, 16, 16 + bytes)

t.test('a reset by the peer is told as such, also while paused', async (t) => {
  for (const isPaused of [false, true]) {
    const { reactor, near, far, nearHandler, farHandler } = createPair()
    if (isPaused) near.pause()
    far.destroy({ code: 'POLICY_CHANGED', detail: '' })
    runUntil(reactor, () => nearHandler.reason !== null)
    t.same(nearHandler.reason, { code: 'PEER_RESET', detail: 'Connection reset by peer' })
    t.same(nearHandler.events, ['close'])
    t.equal(farHandler.reason?.code, 'POLICY_CHANGED')
  }
})

t.test('either side may end first, the other half goes on until it ends too', async (t) => {
  for (const order of ['near', 'far'] as const) {
    const pair = createPair()
    const { reactor } = pair
    const [first, second] = order === 'near' ? [pair.near, pair.far] : [pair.far, pair.near]
    const [one, two] =
      order === 'near' ? [pair.nearHandler, pair.farHandler] : [pair.farHandler, pair.nearHandler]
    first.end()
    runUntil(reactor, () => two.events.includes('end'))
    t.equal(reactor.runTurn(20), false, 'a half-closed connection makes no events')
    write(second, 100_000)
    runUntil(reactor, () => one.bytes === 100_000)
    second.end()
    runUntil(reactor, () => one.reason !== null && two.reason !== null)
    t.same(
      [one.events, two.events],
      [
        ['data', 'end', 'close'],
        ['end', 'close'],
      ],
    )
    t.same([one.reason?.code, two.reason?.code], ['OK', 'OK'])
  }
})

t.test('a peer that never reads holds only what was written, and nothing spins meanwhile', async (t) => {
  const { reactor, near, far, farHandler } = createPair()
  far.pause()
  let written = 0
  while (write(near, 100_000)) {
    written += 100_000
    settle(reactor, () => false)
  }
  written += 100_000
  t.ok(near.bufferedBytes <= 100_000, `${near.bufferedBytes} bytes are what the last write could not send`)
  t.equal(reactor.pool.takenBlocks, Math.ceil(near.bufferedBytes / 65_536))
  t.equal(reactor.runTurn(20), false, 'waiting for room makes no events')
  far.resume()
  runUntil(reactor, () => farHandler.bytes === written)
  t.equal(farHandler.bytes, written)
  t.equal(near.bufferedBytes, 0)
  t.equal(reactor.pool.takenBlocks, 0)
  t.equal(reactor.runTurn(20), false, 'room to write is not watched any longer than needed')
})

t.test('pending bytes of a destroyed or reset connection are given back', async (t) => {
  for (const end of ['destroyed', 'reset'] as const) {
    const { reactor, near, far, nearHandler } = createPair()
    far.pause()
    while (write(near, 1_000_000)) settle(reactor, () => false)
    t.ok(reactor.pool.takenBlocks > 0)
    ;(end === 'destroyed' ? near : far).destroy({ code: 'SHUTDOWN', detail: '' })
    runUntil(reactor, () => nearHandler.reason !== null)
    t.equal(nearHandler.reason?.code, end === 'destroyed' ? 'SHUTDOWN' : 'PEER_RESET')
    t.equal(reactor.pool.takenBlocks, 0)
  }
})

t.test('a broken pipe ends the stream with a reason, and no signal ends the process', async (t) => {
  const { reactor, near, nearHandler } = createPair()
  shutdown(near.fd, SHUT_WR)
  t.equal(write(near, 10), true)
  settle(reactor, () => nearHandler.reason !== null)
  t.same(nearHandler.reason, { code: 'PEER_RESET', detail: 'Broken pipe' })
  const ignored = /^SigIgn:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]
  const SIGPIPE = 13
  t.ok((BigInt(`0x${ignored}`) >> BigInt(SIGPIPE - 1)) & 1n, 'OpenSSL writes without MSG_NOSIGNAL')
})

t.test('a write that the kernel puts off is kept and sent later, in order', async (t) => {
  for (const [bytes, code] of [
    [12_345, E.NOBUFS],
    [12_347, E.INTR],
    [12_349, E.AGAIN],
  ] as const) {
    const { reactor, near, farHandler, nearHandler } = createPair()
    failSystemCall('sendto', 2, bytes, code)
    t.equal(write(near, bytes), false)
    t.equal(near.bufferedBytes, bytes)
    for (let turn = 0; turn < 3; turn++) reactor.runTurn(0)
    t.equal(nearHandler.reason, null)
    t.equal(near.write(block, 16 + bytes, 16 + bytes + 10), false) // from now on another length is sent
    runUntil(reactor, () => farHandler.bytes === bytes + 10)
    t.equal(Buffer.concat(farHandler.chunks).compare(block.bytes.subarray(16, 26 + bytes)), 0)
    t.ok(nearHandler.events.includes('drain'))
  }
})

t.test('an interrupted read is repeated, another error ends the stream', async (t) => {
  const { reactor, near, far, nearHandler, farHandler } = createPair()
  failSystemCall('read', 0, near.fd, E.INTR)
  failSystemCall('read', 0, far.fd, E.TIMEDOUT)
  write(near, 10)
  write(far, 10)
  // By turns: a read that is interrupted for ever never settles.
  for (let turn = 0; turn < 10; turn++) reactor.runTurn(5)
  t.match(farHandler.reason, { code: 'PEER_UNRESPONSIVE', detail: 'Connection timed out' })
  t.same([nearHandler.bytes, nearHandler.reason], [0, null])
  near.destroy({ code: 'OK', detail: '' })
  settle(reactor, () => false)
})

t.test('errno values become reasons', async (t) => {
  t.equal(reasonOfErrno(E.CONNRESET).code, 'PEER_RESET')
  t.equal(reasonOfErrno(E.PIPE).code, 'PEER_RESET')
  for (const code of [E.TIMEDOUT, E.HOSTUNREACH, E.NETUNREACH])
    t.equal(reasonOfErrno(code).code, 'PEER_UNRESPONSIVE')
})

t.test('a worker that holds much reads less at a time, and all of it in the end', async (t) => {
  for (const [held, most] of [
    [0, 262_144],
    [HELD_EASY_BYTES, 65_536],
    [HELD_MUCH_BYTES, LEAST_READ_BYTES],
  ] as const) {
    const { reactor, near, far, farHandler } = createPair()
    reactor.held.bytes = held
    let largest = 0
    far.setHandler({
      onData: (data, start, end) => {
        largest = Math.max(largest, end - start)
        farHandler.onData(data, start, end)
      },
      onEnd: () => farHandler.onEnd(),
      onDrain: () => farHandler.onDrain(),
      onClose: (reason) => farHandler.onClose(reason),
    })
    far.pause()
    write(near, 900_000)
    settle(reactor, () => false) // what the kernel takes is there before the first read
    far.resume()
    runUntil(reactor, () => farHandler.bytes === 900_000)
    t.equal(farHandler.bytes, 900_000)
    t.equal(largest, most)
    near.destroy({ code: 'OK', detail: '' })
    far.destroy({ code: 'OK', detail: '' })
    settle(reactor, () => false)
    reactor.destroy()
  }
})
