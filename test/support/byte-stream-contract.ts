// SPDX-License-Identifier: Apache-2.0
// The contract of mesh/reactor/byte-stream.ts as a suite: run it against every implementation.
import type { TAP, Test } from 'tap'
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'

/** One connected pair and the means to let events happen. */
export interface PairUnderTest {
  readonly near: ByteStream
  readonly far: ByteStream
  /** Runs the loop until `isDone()` or nothing more happens. Must not call handlers after it returned. */
  settle(isDone: () => boolean): void
  /** A block both streams accept. */
  allocateBlock(bytes: number): Block
  /** Frees what the pair holds. */
  close(): void
}
export type PairFactory = () => PairUnderTest

/** Records what a stream says. `isInCall` marks calls of the owner: no callback may happen inside them. */
export class RecordingHandler implements ByteStreamHandler {
  readonly events: string[] = []
  readonly chunks: Buffer[] = []
  reason: CloseReason | null = null
  bytes = 0
  isInCall = false
  onBytes: (() => void) | null = null
  #check(name: string): void {
    if (this.isInCall) throw new Error(`${name} was called from inside a call of the owner's`)
    if (this.reason !== null) throw new Error(`${name} was called after onClose`)
    if (name !== 'data' || this.events.at(-1) !== 'data') this.events.push(name)
  }
  onData(block: Block, start: number, end: number): void {
    this.#check('data')
    this.chunks.push(Buffer.from(block.bytes.subarray(start, end)))
    this.bytes += end - start
    this.onBytes?.()
  }
  onEnd(): void {
    this.#check('end')
  }
  onDrain(): void {
    this.#check('drain')
  }
  onClose(reason: CloseReason): void {
    this.#check('close')
    this.reason = reason
  }
  text(): string {
    return Buffer.concat(this.chunks).toString('latin1')
  }
}

function withHandlers(pair: PairUnderTest): [RecordingHandler, RecordingHandler] {
  const handlers: [RecordingHandler, RecordingHandler] = [new RecordingHandler(), new RecordingHandler()]
  pair.near.setHandler(handlers[0])
  pair.far.setHandler(handlers[1])
  return handlers
}

/** Writes text through a block that is scribbled over right afterwards. */
export function writeText(pair: PairUnderTest, stream: ByteStream, text: string): boolean {
  const block = pair.allocateBlock(16 + text.length)
  block.bytes.write(text, 16, 'latin1')
  const isWritable = stream.write(block, 16, 16 + text.length)
  block.bytes.fill(0x21)
  return isWritable
}

/** Registers the contract's tests under `name`. */
export function testByteStreamContract(tap: TAP, name: string, createPair: PairFactory): void {
  const run = (title: string, body: (pair: PairUnderTest, test: Test) => void) =>
    tap.test(`${name}: ${title}`, async (test) => {
      const pair = createPair()
      body(pair, test)
      pair.close()
    })
  runDataTests(run)
  runEndTests(run)
}

type Run = (title: string, body: (pair: PairUnderTest, test: Test) => void) => void

function runDataTests(run: Run): void {
  run('bytes arrive in order and are copied on write', (pair, test) => {
    const [, far] = withHandlers(pair)
    writeText(pair, pair.near, 'one ')
    writeText(pair, pair.near, 'two')
    pair.settle(() => far.bytes >= 7)
    test.equal(far.text(), 'one two')
  })
  run('both directions are independent', (pair, test) => {
    const [near, far] = withHandlers(pair)
    writeText(pair, pair.near, 'ping')
    writeText(pair, pair.far, 'pong')
    pair.settle(() => far.bytes >= 4 && near.bytes >= 4)
    test.same([near.text(), far.text()], ['pong', 'ping'])
  })
  run('no callback happens inside a call', (pair, test) => {
    const [near, far] = withHandlers(pair)
    far.isInCall = true
    near.isInCall = true
    writeText(pair, pair.near, 'x')
    pair.near.pause()
    pair.near.resume()
    pair.near.end()
    pair.near.destroy({ code: 'SHUTDOWN', detail: 'test' })
    near.isInCall = false
    far.isInCall = false
    pair.settle(() => near.reason !== null)
    test.equal(near.reason?.code, 'SHUTDOWN')
  })
  run('a full stream says so, and says when it has room again', (pair, test) => {
    const [near, far] = withHandlers(pair)
    pair.far.pause()
    const piece = 'p'.repeat(65_536)
    let written = 0
    let isWritable = true
    for (let i = 0; i < 1000 && isWritable; i++) {
      isWritable = writeText(pair, pair.near, piece)
      written += piece.length
      if (isWritable) pair.settle(() => false)
    }
    test.equal(isWritable, false, 'an unread stream fills up')
    writeText(pair, pair.near, 'late')
    test.ok(pair.near.bufferedBytes > 0)
    test.notOk(near.events.includes('drain'))
    pair.far.resume()
    pair.settle(() => far.bytes >= written + 4 && near.events.includes('drain'))
    test.ok(near.events.includes('drain'))
    test.equal(far.bytes, written + 4, 'bytes written over the mark are kept')
    test.equal(far.text().slice(-4), 'late')
  })
  run('a paused stream delivers nothing until resumed', (pair, test) => {
    const [, far] = withHandlers(pair)
    pair.far.pause()
    pair.far.pause()
    writeText(pair, pair.near, 'held')
    pair.settle(() => false)
    test.equal(far.bytes, 0)
    pair.far.resume()
    pair.settle(() => far.bytes >= 4)
    test.equal(far.text(), 'held')
  })
  run('pausing from inside onData stops delivery', (pair, test) => {
    const [, far] = withHandlers(pair)
    far.onBytes = () => pair.far.pause()
    writeText(pair, pair.near, 'a')
    pair.settle(() => far.bytes >= 1)
    writeText(pair, pair.near, 'b')
    pair.settle(() => false)
    test.equal(far.text(), 'a')
    pair.far.resume()
    pair.settle(() => far.bytes >= 2)
    test.equal(far.text(), 'ab')
  })
}

function runEndTests(run: Run): void {
  run('end closes one half only, after everything written', (pair, test) => {
    const [near, far] = withHandlers(pair)
    writeText(pair, pair.near, 'last words')
    pair.near.end()
    pair.near.end()
    test.equal(writeText(pair, pair.near, 'ignored'), true)
    pair.settle(() => far.events.includes('end'))
    test.same(far.events, ['data', 'end'])
    test.equal(far.text(), 'last words')
    writeText(pair, pair.far, 'still open')
    pair.settle(() => near.bytes >= 10)
    test.equal(near.text(), 'still open')
    test.equal(near.reason, null)
    pair.far.end()
    pair.settle(() => near.reason !== null && far.reason !== null)
    test.equal(near.reason?.code, 'OK')
    test.equal(far.reason?.code, 'OK')
    test.equal(near.events.at(-1), 'close')
  })
  run('destroy closes both ends at once and exactly once', (pair, test) => {
    const [near, far] = withHandlers(pair)
    pair.settle(() => false)
    pair.near.destroy({ code: 'POLICY_CHANGED', detail: 'why' })
    pair.near.destroy({ code: 'OK', detail: '' })
    pair.settle(() => near.reason !== null && far.reason !== null)
    test.same(near.reason, { code: 'POLICY_CHANGED', detail: 'why' })
    test.not(far.reason?.code, 'OK', 'the peer learns that it was no orderly end')
    test.equal(near.events.filter((event) => event === 'close').length, 1)
    pair.near.destroy({ code: 'OK', detail: '' })
    pair.settle(() => false)
    test.equal(near.events.at(-1), 'close')
  })
  run('destroying from inside onData delivers nothing more', (pair, test) => {
    const [, far] = withHandlers(pair)
    far.onBytes = () => pair.far.destroy({ code: 'SHUTDOWN', detail: '' })
    writeText(pair, pair.near, 'first')
    pair.settle(() => far.reason !== null)
    writeText(pair, pair.near, 'second')
    pair.settle(() => false)
    test.same(far.events, ['data', 'close'])
  })
  run('a replaced handler gets everything from then on', (pair, test) => {
    const [, far] = withHandlers(pair)
    const second = new RecordingHandler()
    far.onBytes = () => pair.far.setHandler(second)
    writeText(pair, pair.near, 'a')
    pair.settle(() => far.bytes >= 1)
    writeText(pair, pair.near, 'b')
    pair.near.end()
    pair.settle(() => second.events.includes('end'))
    test.equal(far.text(), 'a')
    test.same(second.events, ['data', 'end'])
  })
}
