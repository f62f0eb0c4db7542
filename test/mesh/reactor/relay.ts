// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { CloseReason } from '../../../mesh/reactor/byte-stream.ts'
import { IPPROTO_TCP, TCP_KEEPIDLE } from '../../../mesh/reactor/ffi/constants.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { MAX_PIPES, PIPE_BYTES } from '../../../mesh/reactor/pipe-pool.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { Relay } from '../../../mesh/reactor/relay.ts'
import { getIntOption } from '../../../mesh/reactor/socket-options.ts'
import { TcpSocket } from '../../../mesh/reactor/tcp-socket.ts'
import { TURN_SHARE_BYTES, TurnShares } from '../../../mesh/reactor/turn-share.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { connectDescriptors, ignoringHandler, runUntil, settle } from '../../support/reactor-pairs.ts'

/** A half-closed connection is given up after so long; a starved machine must see what is before it. */
const STALL_MS = 500
const HALF_CLOSED_KEEPALIVE = { idleSeconds: 7, intervalSeconds: 3, probes: 2 }

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
  /** What was said of a server that is lost. */
  readonly lost: CloseReason[] = []
  /** There is another one. */
  isReplaced = false

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
      onServerLost: (reason: CloseReason) => {
        this.lost.push(reason)
        return this.isReplaced
      },
      onRelayClosed: (reason: CloseReason) => void this.reasons.push(reason),
    }
    const policy =
      halfCloseMs === null
        ? null
        : { scheduler: this.reactor, timeoutMs: halfCloseMs, keepalive: HALF_CLOSED_KEEPALIVE }
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
    const line = new Line(STALL_MS)
    const { reactor, clientHandler, serverHandler } = line
    const [one, other] = first === 'client' ? [clientHandler, serverHandler] : [serverHandler, clientHandler]
    line[first].end()
    runUntil(reactor, () => other.events.includes('end'))
    t.same(line.reasons, [])
    runUntil(reactor, () => line.reasons.length > 0 && one.reason !== null && other.reason !== null)
    t.same(line.reasons, [{ code: 'HALF_CLOSE_TIMEOUT', detail: `no byte for ${STALL_MS / 1000} s` }])
    t.equal(one.reason?.code, 'PEER_RESET')
    t.equal(other.reason?.code, 'PEER_RESET')
    t.equal(reactor.pendingTimerCount, 0)
  }
})

t.test('the peers of a connection that stays half closed are asked for, as often as said', async (t) => {
  const line = new Line(STALL_MS)
  const { reactor, client, server, inner } = line
  const idleSeconds = (): number[] => inner.map(({ fd }) => getIntOption(fd, IPPROTO_TCP, TCP_KEEPIDLE))
  const before = idleSeconds()
  t.notOk(before.includes(HALF_CLOSED_KEEPALIVE.idleSeconds))
  client.end()
  runUntil(reactor, () => line.serverHandler.events.includes('end'))
  server.write(block, 16, 17) // something moves: its time is not up at the first look
  t.same(idleSeconds(), before, 'not yet: most connections end at once')
  runUntil(reactor, () => idleSeconds().every((each) => each === HALF_CLOSED_KEEPALIVE.idleSeconds))
  t.same(line.reasons, [])
  server.end()
  runUntil(reactor, () => line.reasons.length > 0)
  t.same(line.reasons, [{ code: 'OK', detail: '' }])
  t.equal(reactor.pendingTimerCount, 0)
})

t.test('while both halves are open nothing is timed, and an end in order leaves no timer', async (t) => {
  const line = new Line(60_000)
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

/** Puts bulk through until the client's direction is spliced; what was written. */
function spliceClient(line: Line): number {
  let written = 0
  for (let i = 0; i < 10; i++) {
    line.client.write(block, 16, 500_016)
    written += 500_000
    runUntil(line.reactor, () => line.serverHandler.bytes === written)
  }
  return written
}

/** How often pipes have been asked for in a reactor, from now on. */
function countTakes(reactor: Reactor): () => number {
  const { pipes } = reactor
  const take = pipes.take.bind(pipes)
  let takes = 0
  pipes.take = () => {
    takes++
    return take()
  }
  return () => takes
}

/** What arrived is the block, over and over. */
function isWhole(line: Line, bytes: number): boolean {
  const arrived = Buffer.concat(line.serverHandler.chunks)
  if (arrived.length !== bytes) return false
  for (let at = 0; at < bytes; at += 500_000) {
    const length = Math.min(500_000, bytes - at)
    if (arrived.compare(block.bytes, 16, 16 + length, at, at + length) !== 0) return false
  }
  return true
}

t.test(
  'bulk is spliced: exact, counted, each way by itself; what follows in small pieces is copied',
  async (t) => {
    const line = new Line()
    const { reactor, client, server, serverHandler, clientHandler } = line
    const takes = countTakes(reactor)
    client.write(block, 16, 1016)
    runUntil(reactor, () => serverHandler.bytes === 1000)
    t.equal(takes(), 0, 'a small message is copied')
    serverHandler.chunks.length = 0
    serverHandler.bytes = 0
    const bytes = spliceClient(line)
    t.ok(takes() > 10)
    t.ok(isWhole(line, bytes))
    t.equal(line.relay.bytesToServer, bytes + 1000)
    t.equal(reactor.pipes.takenPipes, 0, 'a socket that takes all holds no pipe')
    const bulkTakes = takes()
    server.write(block, 16, 5016)
    runUntil(reactor, () => clientHandler.bytes === 5000)
    t.equal(takes(), bulkTakes, 'the other way is no bulk')
    for (let i = 1; i <= 20; i++) {
      client.write(block, 16, 116)
      runUntil(reactor, () => serverHandler.bytes === bytes + i * 100)
    }
    t.equal(serverHandler.bytes, bytes + 2000)
    const smallTakes = takes() - bulkTakes
    t.ok(smallTakes > 0 && smallTakes < 20, `${smallTakes} of 20 small messages were spliced`)
    t.equal(line.relay.bytesToServer, bytes + 3000)
    client.end()
    server.end()
    runUntil(reactor, () => line.reasons.length > 0)
    t.same(line.reasons, [{ code: 'OK', detail: '' }])
  },
)

t.test('a reader that stops: a pipe is held, not more than it takes, and nothing is lost', async (t) => {
  const line = new Line()
  const { reactor, client, server, inner, serverHandler } = line
  let written = spliceClient(line)
  server.pause()
  while (client.write(block, 16, 500_016)) {
    written += 500_000
    settle(reactor, () => false)
  }
  written += 500_000
  settle(reactor, () => false)
  t.equal(reactor.pipes.takenPipes, 1)
  t.ok(inner[1].bufferedBytes > 0)
  t.ok(inner[1].bufferedBytes <= PIPE_BYTES, `${inner[1].bufferedBytes} bytes are held`)
  t.equal(reactor.runTurn(20), false, 'nothing spins')
  client.end()
  settle(reactor, () => false)
  server.resume()
  runUntil(reactor, () => serverHandler.events.includes('end'))
  t.ok(isWhole(line, written), 'also what was in the pipe, and then the end')
  t.equal(reactor.pipes.takenPipes, 0)
  t.equal(reactor.pool.takenBlocks, 0)
})

t.test('a reset while a pipe holds bytes goes through, and the pipe is given back', async (t) => {
  for (const broken of ['client', 'server'] as const) {
    const line = new Line()
    const { reactor, client, server, clientHandler, serverHandler } = line
    spliceClient(line)
    server.pause()
    while (client.write(block, 16, 500_016)) settle(reactor, () => false)
    settle(reactor, () => false)
    t.equal(reactor.pipes.takenPipes, 1)
    const other = broken === 'client' ? serverHandler : clientHandler
    if (broken === 'client') server.resume() // a paused socket hears of a reset by its next read only
    line[broken].destroy({ code: 'SHUTDOWN', detail: '' })
    runUntil(reactor, () => other.reason !== null && line.reasons.length > 0)
    t.equal(other.reason?.code, 'PEER_RESET')
    t.equal(line.reasons[0]?.code, 'PEER_RESET')
    t.equal(reactor.pipes.takenPipes, 0)
    reactor.trim()
    t.same(reactor.descriptors.list().length, 1, 'nothing is left open but the loop')
  }
})

t.test('who looks at a relay sees every byte, and bulk is spliced again afterwards', async (t) => {
  const line = new Line()
  const { reactor, relay, client, serverHandler } = line
  const bytes = spliceClient(line)
  const takes = countTakes(reactor)
  const seen: Buffer[] = []
  const offsets: number[] = []
  relay.capture = {
    onData(isToServer, offset, from, start, end) {
      if (!isToServer) return
      offsets.push(offset)
      seen.push(Buffer.from(from.subarray(start, end)))
    },
    onEnd() {},
  }
  serverHandler.chunks.length = 0
  serverHandler.bytes = 0
  spliceClient(line)
  t.equal(takes(), 0)
  t.equal(offsets[0], bytes)
  t.equal(Buffer.concat(seen).compare(Buffer.concat(serverHandler.chunks)), 0)
  t.equal(serverHandler.bytes, bytes)
  relay.capture = null
  const seenPieces = seen.length
  serverHandler.chunks.length = 0
  serverHandler.bytes = 0
  t.ok(isWhole(line, spliceClient(line)))
  t.ok(takes() > 0)
  t.equal(seen.length, seenPieces)
  client.destroy({ code: 'OK', detail: '' })
})

t.test('without a pipe bulk is copied, with one it is spliced again', async (t) => {
  const line = new Line()
  const { reactor } = line
  const bytes = spliceClient(line)
  const held = Array.from({ length: MAX_PIPES }, () => reactor.pipes.take())
  line.serverHandler.chunks.length = 0
  line.serverHandler.bytes = 0
  t.ok(isWhole(line, spliceClient(line)))
  t.equal(reactor.pipes.takenPipes, MAX_PIPES)
  for (const pipe of held) if (pipe !== null) reactor.pipes.give(pipe)
  t.equal(line.relay.bytesToServer, 2 * bytes)
})

t.test('what is spliced counts against the share of its workload', async (t) => {
  const reactor = new Reactor()
  const share = new TurnShares(reactor).open()
  const far = new RecordingHandler()
  const sockets = connectDescriptors(reactor)
  const onward = connectDescriptors(reactor)
  const client = new TcpSocket(reactor, sockets[0], ignoringHandler)
  const near = new TcpSocket(reactor, sockets[1], ignoringHandler, false, share)
  const to = new TcpSocket(reactor, onward[0], ignoringHandler)
  new TcpSocket(reactor, onward[1], far)
  const turns: number[] = []
  near.splice(to, {
    onSpliced(bytes) {
      turns.push(reactor.turnCount)
      t.ok(share.creditBytes <= TURN_SHARE_BYTES - bytes)
      share.spend(TURN_SHARE_BYTES) // as much again by others of the workload: this one has to wait for a turn
    },
  })
  for (let i = 0; i < 6; i++) client.write(block, 16, 500_016)
  runUntil(reactor, () => far.bytes === 3_000_000)
  t.equal(far.bytes, 3_000_000)
  t.ok(turns.length > 1)
  t.equal(new Set(turns).size, turns.length, 'one read in a turn is all it had')
})

/** Another server of the line: what it hears and its relay's end of it. */
function nextServer({ reactor }: Line) {
  const [dialledFd, serverFd] = connectDescriptors(reactor)
  const handler = new RecordingHandler()
  const server = new TcpSocket(reactor, serverFd, handler)
  return { server, handler, inner: new TcpSocket(reactor, dialledFd, ignoringHandler) }
}

t.test('a server that is lost before a byte is replaced, and the client notices nothing', async (t) => {
  const line = new Line()
  const { reactor, client, clientHandler, relay } = line
  line.isReplaced = true
  line.server.destroy({ code: 'SHUTDOWN', detail: '' })
  runUntil(reactor, () => line.lost.length > 0)
  t.match(line.lost, [{ code: 'PEER_RESET' }])
  client.write(block, 16, 1016)
  settle(reactor, () => false)
  t.same(line.firstBytes, [], 'nobody is there to take them')
  const next = nextServer(line)
  relay.replaceServer(next.inner)
  next.server.write(block, 16, 516)
  runUntil(reactor, () => next.handler.bytes === 1000 && clientHandler.bytes === 500)
  t.same([relay.bytesToServer, relay.bytesToClient], [1000, 500])
  t.same(line.firstBytes.toSorted(), ['client', 'server'])
  client.end()
  next.server.end()
  runUntil(reactor, () => line.reasons.length > 0)
  t.match(line.reasons, [{ code: 'OK' }], 'the loss is no part of its end')
})

t.test('while there is none the client may go, and the owner may give up', async (t) => {
  for (const byClient of [true, false]) {
    const line = new Line()
    line.isReplaced = true
    line.server.destroy({ code: 'SHUTDOWN', detail: '' })
    runUntil(line.reactor, () => line.lost.length > 0)
    if (byClient) line.client.destroy({ code: 'SHUTDOWN', detail: '' })
    else line.inner[0].destroy({ code: 'ENDPOINT_REFUSED', detail: '' })
    runUntil(line.reactor, () => line.reasons.length > 0)
    t.match(line.reasons, [{ code: byClient ? 'PEER_RESET' : 'ENDPOINT_REFUSED' }])
  }
})

t.test('once a byte or an end has gone either way, what is lost is lost', async (t) => {
  for (const what of ['byte to the server', 'byte to the client', 'end of the client', 'end of the server']) {
    const line = new Line()
    const { reactor, client, server, clientHandler, serverHandler } = line
    line.isReplaced = true
    const from = what.endsWith('to the server') || what === 'end of the client' ? client : server
    if (what.startsWith('byte')) from.write(block, 16, 17)
    else from.end()
    const hasArrived = (): boolean =>
      [clientHandler, serverHandler].some(({ bytes, events }) => bytes > 0 || events.includes('end'))
    runUntil(reactor, hasArrived)
    server.destroy({ code: 'SHUTDOWN', detail: '' })
    if (what !== 'end of the server') {
      runUntil(reactor, () => line.reasons.length > 0)
      t.match(line.reasons, [{ code: 'PEER_RESET' }], what)
    } else settle(reactor, () => false)
    t.same(line.lost, [], what)
  }
})

t.test('an owner that has no other server lets the relay end', async (t) => {
  const line = new Line()
  line.server.destroy({ code: 'SHUTDOWN', detail: '' })
  runUntil(line.reactor, () => line.reasons.length > 0)
  t.match(line.reasons, [{ code: 'PEER_RESET' }])
  t.equal(line.lost.length, 1)
})
