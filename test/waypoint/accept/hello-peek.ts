// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createMemoryPair, ManualScheduler, memoryBlock } from '../../../mesh/reactor/memory-pair.ts'
import { HelloPeek } from '../../../waypoint/accept/hello-peek.ts'
import { PrefixedStream } from '../../../waypoint/accept/prefixed-stream.ts'
import { HANDSHAKE_TIMEOUT_MS } from '../../../waypoint/carry/limits.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { hello, helloMessage, inRecords, serverName } from '../../support/client-hellos.ts'

const HELLO = hello(serverName('a.example'))

/** A connection that is looked at. */
class Peeked {
  readonly scheduler = new ManualScheduler()
  readonly heard = new RecordingHandler()
  readonly told: string[] = []
  readonly #pair = createMemoryPair(this.scheduler)

  constructor(silenceMs = 50) {
    const [near, far] = this.#pair
    far.setHandler(new RecordingHandler())
    new HelloPeek(near, this.scheduler, silenceMs, {
      onServerName: (name, head, hasEnded) => {
        this.told.push(`name ${name}`)
        new PrefixedStream(near, head, hasEnded, this.scheduler, memoryBlock).setHandler(this.heard)
      },
      onUnreadable: ({ code }) => {
        this.told.push(code)
        near.destroy({ code, detail: '' })
      },
      onPeekClosed: ({ code }) => this.told.push(`closed ${code}`),
    })
  }

  send(bytes: Buffer): void {
    const block = memoryBlock(16 + bytes.length)
    bytes.copy(block.bytes, 16)
    this.#pair[1].write(block, 16, 16 + bytes.length)
    this.scheduler.runUntilIdle()
  }

  end(): void {
    this.#pair[1].end()
    this.scheduler.runUntilIdle()
  }

  reset(): void {
    this.#pair[1].destroy({ code: 'PEER_RESET', detail: '' })
    this.scheduler.runUntilIdle()
  }
}

t.test('the name is told once, and the server gets every byte', async (t) => {
  for (const step of [1, 7, HELLO.length]) {
    const peeked = new Peeked()
    for (let at = 0; at < HELLO.length; at += step) peeked.send(HELLO.subarray(at, at + step))
    peeked.send(Buffer.from('more'))
    peeked.scheduler.advance(HANDSHAKE_TIMEOUT_MS * 2)
    t.same(peeked.told, ['name a.example'])
    t.equal(peeked.heard.text(), `${HELLO.toString('latin1')}more`)
    t.equal(peeked.scheduler.timerCount, 0)
  }
})

t.test('a server that speaks first waits a moment; what is no TLS is passed on at once', async (t) => {
  const silent = new Peeked()
  silent.scheduler.advance(49)
  t.same(silent.told, [])
  silent.scheduler.advance(2)
  t.same(silent.told, ['name '])
  silent.send(HELLO)
  silent.scheduler.runUntilIdle()
  t.equal(silent.heard.text(), HELLO.toString('latin1'), 'what comes later comes to the server')
  const other = new Peeked()
  other.send(Buffer.from('SSH-2.0-x'))
  t.same(other.told, ['name '])
})

t.test('a hello that does not end, one that is malformed, and ends of all kinds', async (t) => {
  const slow = new Peeked()
  for (const byte of HELLO.subarray(0, 9)) {
    slow.send(Buffer.from([byte]))
    slow.scheduler.advance(HANDSHAKE_TIMEOUT_MS / 9 + 1)
  }
  t.same(slow.told, ['HANDSHAKE_TIMEOUT'], 'a byte now and then buys no time')
  const bad = new Peeked()
  bad.send(inRecords(helloMessage({ type: 2 })))
  t.same(bad.told, ['TLS_HANDSHAKE'])
  const ended = new Peeked()
  ended.send(HELLO.subarray(0, 9))
  ended.end()
  ended.scheduler.advance(1)
  t.same(ended.told, ['name '])
  t.ok(ended.heard.events.includes('end'))
  const gone = new Peeked()
  gone.reset()
  t.same(gone.told, ['closed PEER_RESET'])
  t.equal(gone.scheduler.timerCount, 0)
})
