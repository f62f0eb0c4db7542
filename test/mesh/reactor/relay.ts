// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { CloseReason } from '../../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { Relay } from '../../../mesh/reactor/relay.ts'
import { TcpSocket } from '../../../mesh/reactor/tcp-socket.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { connectDescriptors, ignoringHandler, runUntil, settle } from '../../support/reactor-pairs.ts'

/** client — [relay] — server, all over TCP. */
class Line {
  readonly reactor = new Reactor()
  readonly clientHandler = new RecordingHandler()
  readonly serverHandler = new RecordingHandler()
  readonly client: TcpSocket
  readonly server: TcpSocket
  readonly inner: readonly [TcpSocket, TcpSocket]
  readonly relay: Relay
  readonly reasons: CloseReason[] = []
  readonly firstBytes: string[] = []

  constructor(halfCloseMs: number | null = null) {
    const [clientFd, acceptedFd] = connectDescriptors(this.reactor)
    const [dialledFd, serverFd] = connectDescriptors(this.reactor)
    this.client = new TcpSocket(this.reactor, clientFd, this.clientHandler)
    this.server = new TcpSocket(this.reactor, serverFd, this.serverHandler)
    this.inner = [
      new TcpSocket(this.reactor, acceptedFd, ignoringHandler),
      new TcpSocket(this.reactor, dialledFd, ignoringHandler),
    ]
    const owner = {
      onFirstByte: (from: string) => void this.firstBytes.push(from),
      onRelayClosed: (reason: CloseReason) => void this.reasons.push(reason),
    }
    const policy = halfCloseMs === null ? null : { scheduler: this.reactor, timeoutMs: halfCloseMs }
    this.relay = new Relay(...this.inner, owner, policy)
  }
}
const block = allocateBlock(500_016)
for (let i = 0; i < block.bytes.length; i++) block.bytes[i] = (i * 13) & 255

t.test('bytes go both ways, are counted, and either half ends alone', async (t) => {
  for (const first of ['client', 'server'] as const) {
    const line = new Line()
    const { reactor, client, server, clientHandler, serverHandler } = line
    client.write(block, 16, 500_016)
    server.write(block, 16, 100_016)
    runUntil(reactor, () => serverHandler.bytes === 500_000 && clientHandler.bytes === 100_000)
    t.equal(Buffer.concat(serverHandler.chunks).compare(block.bytes.subarray(16)), 0)
    const [one, two] = first === 'client' ? [client, server] : [server, client]
    const [oneHandler, twoHandler] =
      first === 'client' ? [clientHandler, serverHandler] : [serverHandler, clientHandler]
    one.end()
    runUntil(reactor, () => twoHandler.events.includes('end'))
    two.write(block, 16, 1016)
    runUntil(reactor, () => oneHandler.bytes % 100_000 === 1000)
    t.same(line.reasons, [], 'half of it is still open')
    two.end()
    runUntil(reactor, () => line.reasons.length > 0 && oneHandler.reason !== null)
    t.same(line.reasons, [{ code: 'OK', detail: '' }])
    t.same(line.firstBytes.toSorted(), ['client', 'server'], 'the first byte of each side is told once')
    const extra = first === 'client' ? [0, 1000] : [1000, 0]
    t.same(
      [line.relay.bytesToServer, line.relay.bytesToClient],
      [500_000 + (extra[0] ?? 0), 100_000 + (extra[1] ?? 0)],
    )
  }
})

t.test('a reader that stops stops the writer: what is held is one read', async (t) => {
  const line = new Line()
  const { reactor, client, server, inner, serverHandler } = line
  server.pause()
  let written = 0
  while (client.write(block, 16, 500_016)) {
    written += 500_000
    settle(reactor, () => false)
  }
  written += 500_000
  settle(reactor, () => false)
  t.ok(inner[1].bufferedBytes > 0)
  t.ok(inner[1].bufferedBytes <= 262_144, `${inner[1].bufferedBytes} bytes are held`)
  t.equal(reactor.runTurn(20), false, 'nothing spins')
  server.resume()
  runUntil(reactor, () => serverHandler.bytes === written)
  t.equal(serverHandler.bytes, written)
  t.equal(reactor.pool.takenBlocks, 0)
})

t.test('a reset of one side resets the other, and is the reason of both', async (t) => {
  for (const broken of ['client', 'server'] as const) {
    const line = new Line()
    const { reactor, clientHandler, serverHandler } = line
    const other = broken === 'client' ? serverHandler : clientHandler
    line[broken].destroy({ code: 'SHUTDOWN', detail: '' })
    runUntil(reactor, () => other.reason !== null && line.reasons.length > 0)
    t.equal(other.reason?.code, 'PEER_RESET', 'the other side sees a reset, not an end')
    t.same(line.reasons, [{ code: 'PEER_RESET', detail: 'Connection reset by peer' }])
  }
})

t.test('a connection of which one half ended and the other moves nothing is ended, both ways', async (t) => {
  for (const first of ['client', 'server'] as const) {
    const line = new Line(100)
    const { reactor, clientHandler, serverHandler } = line
    const [one, other] = first === 'client' ? [clientHandler, serverHandler] : [serverHandler, clientHandler]
    line[first].end()
    runUntil(reactor, () => other.events.includes('end'))
    t.same(line.reasons, [])
    runUntil(reactor, () => line.reasons.length > 0 && one.reason !== null && other.reason !== null)
    t.same(line.reasons, [{ code: 'HALF_CLOSE_TIMEOUT', detail: 'no byte for 0.1 s' }])
    t.equal(one.reason?.code, 'PEER_RESET')
    t.equal(other.reason?.code, 'PEER_RESET')
    t.equal(reactor.pendingTimerCount, 0)
  }
})

t.test('while both halves are open nothing is timed, and an end in order leaves no timer', async (t) => {
  const line = new Line(50)
  const { reactor, client, server, serverHandler, clientHandler } = line
  client.write(block, 16, 1016)
  runUntil(reactor, () => serverHandler.bytes === 1000)
  t.equal(reactor.pendingTimerCount, 0)
  t.equal(line.relay.halfClosedStallMs, 0)
  client.end()
  runUntil(reactor, () => serverHandler.events.includes('end'))
  t.equal(reactor.pendingTimerCount, 1)
  server.end()
  runUntil(reactor, () => line.reasons.length > 0 && clientHandler.reason !== null)
  t.same(line.reasons, [{ code: 'OK', detail: '' }])
  t.equal(reactor.pendingTimerCount, 0)
})
