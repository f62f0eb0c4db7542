// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { HttpStream } from '../../../mesh/http/http-stream.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { MAX_REPLAY_BYTES } from '../../../waypoint/carry/limits.ts'
import type { Mirror } from '../../../waypoint/carry/mirror.ts'
import { RequestBody } from '../../../waypoint/carry/request-body.ts'

const SCRATCH = allocateBlock(1024)

/** A stream that says what was sent on it. */
class Sent {
  text = ''
  isClosed = false
  isFlowing = true
  write(block: { readonly bytes: Buffer }, start: number, end: number): boolean {
    this.text += block.bytes.toString('latin1', start, end)
    return this.isFlowing
  }
  end(): void {
    this.text += '|end'
  }
  sendHeaders(headers: readonly string[]): void {
    this.text += `|${headers.join('=')}`
  }
  get stream(): HttpStream {
    return this as unknown as HttpStream // as: all that a body uses
  }
}

function put(body: RequestBody, text: string, to: Sent | null): boolean {
  const block = allocateBlock(Math.max(text.length, 1))
  block.bytes.write(text, 'latin1')
  return body.write(block, 0, text.length, to?.stream ?? null)
}

t.test(
  'what came before an attempt is sent to each, and what comes after to the one under way',
  async (t) => {
    const body = new RequestBody()
    body.keep()
    t.ok(put(body, 'one ', null))
    const [first, second] = [new Sent(), new Sent()]
    t.ok(body.begin(first.stream, SCRATCH))
    put(body, 'two ', first)
    t.ok(body.isReplayable)
    body.begin(second.stream, SCRATCH)
    put(body, 'three', second)
    body.end(['x', 'y'], second.stream)
    body.end(null, second.stream)
    t.strictSame([first.text, second.text], ['one two ', 'one two three|x=y'])
  },
)

t.test('one that has ended is ended on an attempt that begins later', async (t) => {
  const body = new RequestBody()
  body.keep()
  put(body, 'all', null)
  body.end(null, null)
  const sent = new Sent()
  body.begin(sent.stream, SCRATCH)
  t.equal(sent.text, 'all|end')
})

t.test('what is not kept, released or too long is not sent again', async (t) => {
  const [unkept, released, long] = [new RequestBody(), new RequestBody(), new RequestBody()]
  released.keep()
  released.release()
  long.keep()
  put(long, 'x'.repeat(MAX_REPLAY_BYTES), null)
  t.ok(long.isReplayable)
  put(long, 'x', null)
  for (const body of [unkept, released, long]) t.notOk(body.isReplayable)
})

t.test('a stream that is full holds up the caller, one that has closed does not', async (t) => {
  const body = new RequestBody()
  const sent = new Sent()
  sent.isFlowing = false
  t.notOk(put(body, 'a', sent))
  sent.isClosed = true
  t.ok(put(body, 'b', sent))
  t.equal(sent.text, 'a')
})

t.test('mirrors have it all and are told of the end, however it ends', async (t) => {
  const seen: string[] = []
  const mirror = {
    write: (bytes: Buffer, start: number, end: number) => seen.push(bytes.toString('latin1', start, end)),
    end: () => seen.push('end'),
  } as unknown as Mirror // as: all that a body uses
  const body = new RequestBody()
  body.copyTo([mirror])
  put(body, 'a', null)
  body.close()
  t.strictSame(seen, ['a', 'end'])
})

t.test(
  'it has stalled when nothing has come for as long as may be, and somebody would have taken it',
  async (t) => {
    const body = new RequestBody()
    const look = (nowMs: number, bytes: number, isHeldUp = false): boolean =>
      body.hasStalled(bytes, isHeldUp, { nowMs, timeoutMs: 100 })
    t.notOk(look(1000, 0), 'at the first look nobody knows since when')
    t.notOk(look(1099, 0))
    t.ok(look(1100, 0))
    t.notOk(look(1110, 1))
    t.notOk(look(1209, 1))
    t.notOk(look(1300, 1, true), 'it was not read')
    t.notOk(look(1310, 1), 'and the time begins anew')
    t.ok(look(1410, 1))
    body.end(null, null)
    t.notOk(look(9999, 1))
  },
)
