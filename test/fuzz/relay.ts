// SPDX-License-Identifier: Apache-2.0
// Relays that are made to copy and to splice by turns, in any order of sizes, stops, looks, shortages and ends: what
// arrives is what was sent, byte by byte, and is counted.
import { createHash, type Hash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { Block, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { MAX_PIPES, type Pipe } from '../../mesh/reactor/pipe-pool.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { Relay } from '../../mesh/reactor/relay.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { type TurnShare, TurnShares } from '../../mesh/reactor/turn-share.ts'
import { connectDescriptors, ignoringHandler, runUntil } from '../support/reactor-pairs.ts'

const MAX_WRITE_BYTES = 400_000
/** Where a write begins in it differs from write to write. */
const pattern = allocateBlock(2 * MAX_WRITE_BYTES)
for (let i = 0; i < pattern.bytes.length; i++) pattern.bytes[i] = (i * 31 + (i >> 8) * 7) & 255

/** One end outside of the relay: what it sent and what it got. */
class End {
  readonly socket: TcpSocket
  readonly sent: Hash = createHash('sha256')
  readonly got: Hash = createHash('sha256')
  sentBytes = 0
  gotBytes = 0
  hasEnded = false
  hasHeardEnd = false

  constructor(reactor: Reactor, fd: number) {
    this.socket = new TcpSocket(reactor, fd, {
      ...ignoringHandler,
      onData: (block: Block, start: number, end: number) => {
        this.got.update(block.bytes.subarray(start, end))
        this.gotBytes += end - start
      },
      onEnd: () => (this.hasHeardEnd = true),
    })
  }

  send(bytes: number, from: number): void {
    if (this.hasEnded) return
    const block = allocateBlock(bytes + 16)
    pattern.bytes.copy(block.bytes, 16, from, from + bytes)
    this.sent.update(block.bytes.subarray(16))
    this.sentBytes += bytes
    this.socket.write(block, 16, 16 + bytes)
  }

  end(): void {
    this.hasEnded = true
    this.socket.end()
  }
}

/** client — [relay] — server; how often it was spliced. */
class Line {
  readonly reactor = new Reactor()
  readonly ends: readonly [client: End, server: End]
  readonly relay: Relay
  readonly reasons: CloseReason[] = []
  readonly held: Pipe[] = []
  spliced = 0
  seenBytes = 0

  constructor(hasShares: boolean) {
    const { reactor } = this
    const shares = new TurnShares(reactor)
    const share = (): TurnShare | null => (hasShares ? shares.open() : null)
    const [clientFd, acceptedFd] = connectDescriptors(reactor)
    const [dialledFd, serverFd] = connectDescriptors(reactor)
    this.ends = [new End(reactor, clientFd), new End(reactor, serverFd)]
    const near = new TcpSocket(reactor, acceptedFd, ignoringHandler, false, share())
    const far = new TcpSocket(reactor, dialledFd, ignoringHandler, false, share())
    const onRelayClosed = (reason: CloseReason) => void this.reasons.push(reason)
    this.relay = new Relay(near, far, { onFirstByte() {}, onRelayClosed })
    const { pipes } = reactor
    const take = pipes.take.bind(pipes)
    pipes.take = () => {
      this.spliced++
      return take()
    }
  }

  look(isOn: boolean): void {
    const onData = (_: boolean, __: number, ___: Buffer, start: number, end: number): void => {
      this.seenBytes += end - start
    }
    this.relay.capture = isOn ? { onData, onEnd() {} } : null
  }

  /** Nobody else gets a pipe, or everybody again. */
  hold(isOn: boolean): void {
    const { pipes } = this.reactor
    while (isOn && pipes.takenPipes < MAX_PIPES) {
      const pipe = pipes.take()
      if (pipe !== null) this.held.push(pipe)
    }
    if (!isOn) for (const pipe of this.held.splice(0)) pipes.give(pipe)
  }

  /** All that is under way arrives, and all closes. */
  finish(): void {
    this.hold(false)
    for (const end of this.ends) {
      end.socket.resume()
      end.end()
    }
    runUntil(this.reactor, () => this.reasons.length > 0 && this.ends.every((end) => end.hasHeardEnd), 20_000)
    this.reactor.destroy()
  }
}

const side = fc.constantFrom(0 as const, 1 as const)
const size = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 3000 }), weight: 1 },
  { arbitrary: fc.integer({ min: 10_000, max: 20_000 }), weight: 1 },
  { arbitrary: fc.integer({ min: 100_000, max: MAX_WRITE_BYTES }), weight: 4 },
)
const step = fc.oneof(
  {
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      side,
      size,
      times: fc.integer({ min: 1, max: 12 }),
    }),
    weight: 8,
  },
  { arbitrary: fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const), side }), weight: 3 },
  {
    arbitrary: fc.record({ kind: fc.constant('turns' as const), count: fc.integer({ min: 1, max: 30 }) }),
    weight: 4,
  },
  {
    arbitrary: fc.record({ kind: fc.constantFrom('look' as const, 'hold' as const), isOn: fc.boolean() }),
    weight: 2,
  },
  { arbitrary: fc.record({ kind: fc.constant('end' as const), side }), weight: 1 },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

function apply(line: Line, step: Step, index: number): void {
  const { reactor, ends } = line
  if (step.kind === 'send') {
    for (let i = 0; i < step.times; i++) {
      ends[step.side].send(step.size, (index * 977 + i * 131) % MAX_WRITE_BYTES)
      reactor.runTurn(1)
    }
  } else if (step.kind === 'turns') for (let i = 0; i < step.count; i++) reactor.runTurn(1)
  else if (step.kind === 'look') line.look(step.isOn)
  else if (step.kind === 'hold') line.hold(step.isOn)
  else if (step.kind === 'end') ends[step.side].end()
  else if (step.kind === 'pause') ends[step.side].socket.pause()
  else if (step.kind === 'resume') ends[step.side].socket.resume()
}

t.test('what arrives is what was sent, whether it was copied or spliced', async (t) => {
  let spliced = 0
  let seenBytes = 0
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), fc.boolean(), (steps, hasShares) => {
      const line = new Line(hasShares)
      steps.forEach((step, index) => {
        apply(line, step, index)
      })
      line.finish()
      spliced += line.spliced
      seenBytes += line.seenBytes
      const [client, server] = line.ends
      const { relay, reactor } = line
      return (
        client.sentBytes === server.gotBytes &&
        server.sentBytes === client.gotBytes &&
        client.sent.digest('hex') === server.got.digest('hex') &&
        server.sent.digest('hex') === client.got.digest('hex') &&
        relay.bytesToServer === client.sentBytes &&
        relay.bytesToClient === server.sentBytes &&
        line.reasons.length === 1 &&
        line.reasons[0]?.code === 'OK' &&
        reactor.pipes.takenPipes === 0 &&
        reactor.pool.takenBlocks === 0 &&
        reactor.descriptors.list().length === 0
      )
    }),
    { numRuns: 60 },
  )
  t.ok(spliced > 100, `${spliced} reads were spliced`)
  t.ok(seenBytes > 100_000, `${seenBytes} bytes were looked at`)
})
