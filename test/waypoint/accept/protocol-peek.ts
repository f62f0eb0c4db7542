// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createMemoryPair, ManualScheduler, memoryBlock } from '../../../mesh/reactor/memory-pair.ts'
import { PrefixedStream } from '../../../waypoint/accept/prefixed-stream.ts'
import { ProtocolPeek, type Spoken, spokenIn } from '../../../waypoint/accept/protocol-peek.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

t.test('the first bytes tell', async (t) => {
  const table: readonly (readonly [string, Spoken | null])[] = [
    [PREFACE, 'http2'],
    [`${PREFACE}\0`, 'http2'],
    [PREFACE.slice(0, 10), null],
    ['P', null],
    ['PUT /', 'http1'],
    ['GET / HTTP/1.1\r\n', 'http1'],
    ['GET', null],
    ['M-SEARCH * ', 'http1'],
    ['get / HTTP/1.1', 'tcp'],
    ['\x16\x03\x01', 'tcp'],
    ['*1\r\n$4\r\nPING', 'tcp'],
    ['AVERYLONGWORDWITHOUTEND', 'tcp'],
    ['PRI * HTTP/1.1', 'http1'],
  ]
  for (const [text, spoken] of table)
    t.equal(spokenIn(Buffer.from(text, 'latin1')), spoken, JSON.stringify(text))
})

/** What a server would see of a client that sends `parts`, each in a turn of its own. */
function peeked(timeoutMs: number, parts: readonly string[], waitMs = 0, isEnded = false) {
  const scheduler = new ManualScheduler()
  const [near, far] = createMemoryPair(scheduler)
  const heard = new RecordingHandler()
  let found: Spoken | null = null
  new ProtocolPeek(near, scheduler, timeoutMs, {
    onSpoken: (spoken, head, hasEnded) => {
      found = spoken
      new PrefixedStream(near, head, hasEnded, scheduler, memoryBlock).setHandler(heard)
    },
    onPeekClosed: () => {},
  })
  far.setHandler(new RecordingHandler())
  for (const part of parts) {
    const block = memoryBlock(16 + part.length)
    block.bytes.write(part, 16, 'latin1')
    far.write(block, 16, 16 + part.length)
    scheduler.runUntilIdle()
  }
  if (isEnded) far.end()
  scheduler.advance(waitMs)
  scheduler.runUntilIdle()
  return { found, heard, near, far, scheduler }
}

t.test('what was looked at is handed on, with everything after it', async (t) => {
  const { found, heard } = peeked(50, ['GE', 'T / HTTP/1.1\r\n', 'host: a\r\n\r\n'], 1)
  t.equal(found, 'http1')
  t.equal(heard.text(), 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
})

t.test('who says nothing is waited for no longer than a moment', async (t) => {
  t.equal(peeked(50, [], 49).found, null)
  t.equal(peeked(50, [], 51).found, 'tcp')
})

t.test('an end is handed on as well', async (t) => {
  const { found, heard } = peeked(50, ['P'], 1, true)
  t.equal(found, 'tcp')
  t.equal(heard.text(), 'P')
  t.ok(heard.events.includes('end'))
})
