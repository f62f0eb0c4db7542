// SPDX-License-Identifier: Apache-2.0
// HTTP/2 under random input: nothing throws, memory stays bounded, and how bytes are cut changes nothing.
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { HpackDecoder } from '../../mesh/h2/hpack/decoder.ts'
import { HpackEncoder } from '../../mesh/h2/hpack/encoder.ts'
import { decodeHuffman, encodeHuffman, huffmanBytes, maxDecodedBytes } from '../../mesh/h2/hpack/huffman.ts'
import { CONNECT, connectSessions, open, RawPeer, send } from '../support/h2-pair.ts'

const latin1 = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1'))

t.test('Huffman: every string survives; random bytes never decode to more than they may', async (t) => {
  fc.assert(
    fc.property(latin1, (text) => {
      const coded = Buffer.alloc(huffmanBytes(text))
      encodeHuffman(text, coded, 0)
      const target = Buffer.alloc(maxDecodedBytes(coded.length))
      const written = decodeHuffman(coded, 0, coded.length, target)
      return target.toString('latin1', 0, written) === text
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const target = Buffer.alloc(maxDecodedBytes(bytes.length))
      return decodeHuffman(Buffer.from(bytes), 0, bytes.length, target) <= target.length
    }),
  )
  t.pass()
})

t.test('HPACK: lists survive any sequence of blocks and table sizes', async (t) => {
  const name = fc.constantFrom(':authority', 'baggage', 'x-a', 'traceparent', 'cookie', 'date', 'forwarded')
  const list = fc.array(fc.tuple(name, latin1), { maxLength: 10 }).map((fields) => fields.flat())
  const step = fc.record({ list, tableBytes: fc.option(fc.nat({ max: 9_000 }), { nil: undefined }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.boolean(), (steps, isHuffman) => {
      const encoder = new HpackEncoder(4096, isHuffman)
      const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 1 << 20, fields: 100 })
      return steps.every((one) => {
        if (one.tableBytes !== undefined) encoder.setPeerTableBytes(one.tableBytes)
        const bytes = Buffer.alloc(HpackEncoder.maxEncodedBytes(one.list))
        const block = decoder.decode(bytes, 0, encoder.encode(one.list, bytes, 0))
        return !isRefusal(block) && block.fields.join('\n') === one.list.join('\n')
      })
    }),
  )
  t.pass()
})

t.test('HPACK: random blocks are decoded or refused', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (blocks) => {
      const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 1_000, fields: 10 })
      return blocks.every((block) => {
        const result = decoder.decode(Buffer.from(block), 0, block.length)
        return isRefusal(result) || result.fields.join('').length <= 1_000
      })
    }),
    { numRuns: 500 },
  )
  t.pass()
})

/** Frames with plausible headers and random contents: far deeper into the state machine than random bytes. */
const frame = fc.record({
  type: fc.integer({ min: 0, max: 10 }),
  flags: fc.constantFrom(0, 1, 4, 5, 8, 0xc, 0x20, 0x24, 0x2d),
  id: fc.constantFrom(0, 1, 2, 3, 5, 7, 0x7fffffff),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.constantFrom(4, 5, 8, 6, 0).chain((bytes) => fc.uint8Array({ minLength: bytes, maxLength: bytes })),
  ),
})

function feed(
  role: 'client' | 'server',
  frames: readonly (typeof frame extends fc.Arbitrary<infer F> ? F : never)[],
  chunkBytes: number,
) {
  const peer = new RawPeer(role, {
    pair: { chunkBytes },
    local: { streamWindowBytes: 1_000, connectionWindowBytes: 65_535 },
  })
  peer.says.onAccept = (stream) => {
    stream.sendHeaders([':status', '200'], false)
    if (stream.id === 3) stream.pause()
  }
  if (role === 'client') open(peer.session)
  for (const { type, flags, id, payload } of frames) {
    if (type === 1 && payload.length === 0) peer.headers(id, CONNECT, flags & 5)
    else peer.frame(type, flags, id, Buffer.from(payload))
  }
  const answer = peer.run().map(({ type, id, payload }) => `${type} ${id} ${payload.toString('hex')}`)
  return {
    peer,
    answer,
    events: peer.says.events,
    reason: peer.says.reason?.code,
    data: peer.says.records.map((r) => r.text()),
  }
}

t.test('a session survives random frames with bounded memory, however they are cut', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom('client', 'server'),
      fc.array(frame, { maxLength: 30 }),
      fc.integer({ min: 1, max: 40 }),
      (role, frames, chunkBytes) => {
        const whole = feed(role, frames, 1 << 20)
        const cut = feed(role, frames, chunkBytes)
        // What was delivered before an error may differ by pieces; the verdict may not.
        if (whole.reason !== cut.reason || whole.events.join() !== cut.events.join()) return false
        if (whole.data.join('|') !== cut.data.join('|')) return false
        if (whole.peer.resources.inboundUsedBytes > 300_000) return false
        whole.peer.session.destroy({ code: 'SHUTDOWN', detail: '' })
        whole.peer.scheduler.advance(30_000)
        return whole.peer.resources.inboundUsedBytes === 0 && whole.peer.scheduler.timerCount === 0
      },
    ),
    { numRuns: 1_000 },
  )
  t.pass()
})

t.test('random bytes end a connection without an exception', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom('client', 'server'),
      fc.uint8Array({ maxLength: 500 }),
      fc.boolean(),
      (role, bytes, isSilent) => {
        const peer = new RawPeer(role, { isSilent })
        if (bytes.length > 0) peer.sendBytes(Buffer.from(bytes))
        peer.scheduler.advance(60_000)
        return !isSilent || peer.says.reason !== null
      },
    ),
    { numRuns: 500 },
  )
  t.pass()
})

t.test(
  'whatever two sessions do to each other, bytes arrive in order and every stream is closed once',
  async (t) => {
    const action = fc.record({
      kind: fc.constantFrom(
        'open',
        'send',
        'answer',
        'end',
        'endServer',
        'pause',
        'resume',
        'reset',
        'turn',
        'drain',
      ),
      stream: fc.nat({ max: 5 }),
      bytes: fc.constantFrom(1, 100, 9_000, 70_000, 300_000),
    })
    fc.assert(
      fc.property(
        fc.array(action, { maxLength: 60 }),
        fc.constantFrom(1_000, 50_000, 1 << 20),
        (actions, windowBytes) => {
          const local = {
            streamWindowBytes: windowBytes,
            connectionWindowBytes: Math.max(windowBytes, 65_535),
          }
          const pair = connectSessions({
            client: { local },
            server: { local },
            highWaterBytes: 30_000,
            chunkBytes: 10_000,
          })
          const opened: ReturnType<typeof open>[] = []
          const sent: number[] = []
          for (const { kind, stream: which, bytes } of actions) {
            const stream = opened[which]?.[0]
            const far = pair.serverSays.streams[which]
            if (kind === 'open' && opened.length < 6 && !pair.client.isDraining)
              opened.push(open(pair.client))
            else if (kind === 'send' && stream && !stream.isClosed) {
              send(stream, Buffer.alloc(bytes, 97 + which))
              sent[which] = (sent[which] ?? 0) + bytes
            } else if (kind === 'answer' && far && !far.isClosed) send(far, Buffer.alloc(bytes, 65 + which))
            else if (kind === 'end') stream?.end()
            else if (kind === 'endServer') far?.end()
            else if (kind === 'pause') far?.pause()
            else if (kind === 'resume') far?.resume()
            else if (kind === 'reset') stream?.destroy({ code: 'SHUTDOWN', detail: '' })
            else if (kind === 'turn') pair.scheduler.runTurn()
            else if (kind === 'drain' && which === 0) pair.client.drain()
          }
          for (const far of pair.serverSays.streams) far.resume()
          pair.scheduler.runUntilIdle()
          for (const [i, record] of pair.serverSays.records.entries()) {
            if (record.reason !== null && record.reason.code !== 'OK') continue
            if (record.bytes > (sent[i] ?? 0) || !/^(.)?\1*$/.test(record.text())) return false
          }
          pair.client.destroy({ code: 'SHUTDOWN', detail: '' })
          pair.scheduler.advance(30_000)
          const records = [...opened.map(([, record]) => record), ...pair.serverSays.records]
          return records.every((record) => record.reason !== null) && pair.resources.inboundUsedBytes === 0
        },
      ),
      { numRuns: 200 },
    )
    t.pass()
  },
)
