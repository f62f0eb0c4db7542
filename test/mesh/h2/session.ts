// SPDX-License-Identifier: Apache-2.0
// Two sessions against each other: what users of the stack rely on.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { memoryBlock } from '../../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { CONNECT, connectSessions, open, RawPeer, send } from '../../support/h2-pair.ts'
import { RecordingHttpHeaders } from '../../support/recording-headers.ts'

t.test('a stream carries bytes both ways and half-closes', async (t) => {
  for (const chunkBytes of [262_144, 7]) {
    const pair = connectSessions({ chunkBytes })
    const [stream, record, lists] = open(pair.client)
    pair.scheduler.runUntilIdle()
    t.same(pair.serverSays.requests, [CONNECT])
    t.same(lists.lists, [[':status', '200']])
    const server = pair.serverSays.streams[0]
    const serverRecord = pair.serverSays.records[0]
    if (server === undefined || serverRecord === undefined) throw new Error('no stream')
    send(stream, 'question')
    stream.end()
    pair.scheduler.runUntilIdle()
    t.equal(serverRecord.text(), 'question')
    t.same(serverRecord.events, ['data', 'end'])
    send(server, 'answer')
    send(server, ', later')
    pair.scheduler.runUntilIdle()
    t.equal(record.text(), 'answer, later')
    t.equal(record.reason, null)
    server.end()
    pair.scheduler.runUntilIdle()
    t.same(record.reason, { code: 'OK', detail: '' })
    t.same(serverRecord.reason, { code: 'OK', detail: '' })
    t.equal(pair.client.openStreamCount + pair.server.openStreamCount, 0)
    t.equal(pair.server.state, 'open')
  }
})

t.test('two megabytes arrive intact through windows of every size, and nothing stays behind', async (t) => {
  for (const windowBytes of [1_000, 65_535, 4_194_304]) {
    const local = { streamWindowBytes: windowBytes, connectionWindowBytes: Math.max(65_535, windowBytes) }
    const pair = connectSessions({ server: { local }, highWaterBytes: 100_000, chunkBytes: 50_000 })
    const [stream, record] = open(pair.client)
    const payload = Buffer.alloc(2_000_000, 'abcdefghijklmnopqrstuvwxyz0123456789-')
    let at = 0
    let isWaiting = false
    const sizes = [10, 100_000, 8_192, 262_144, 1, 8_191]
    const fill = () => {
      for (let i = 0; at < payload.length && !isWaiting; i++) {
        const end = Math.min(payload.length, at + (sizes[i % sizes.length] ?? 1))
        isWaiting = !send(stream, payload.subarray(at, end), 16 + (i % 40))
        at = end
      }
      if (at === payload.length) stream.end()
    }
    record.onDrain = () => {
      isWaiting = false
      fill()
    }
    fill()
    pair.scheduler.runUntilIdle()
    const received = pair.serverSays.records[0]
    t.ok(received !== undefined && Buffer.concat(received.chunks).equals(payload), `${windowBytes}`)
    t.equal(stream.bufferedBytes, 0)
    t.ok(received?.events.includes('end'))
  }
})

t.test('small frames of many streams leave as one write', async (t) => {
  const pair = connectSessions()
  const streams = Array.from({ length: 20 }, () => open(pair.client)[0])
  pair.scheduler.runUntilIdle()
  let writes = 0
  const transport = pair.transports[0]
  const write = transport.write.bind(transport)
  transport.write = (block, start, end) => {
    writes++
    return write(block, start, end)
  }
  for (const stream of streams) send(stream, 'small')
  pair.scheduler.runUntilIdle()
  t.equal(writes, 1)
  const first = streams[0]
  if (first === undefined) throw new Error('no stream')
  send(first, 'before')
  send(first, Buffer.alloc(10_000))
  send(first, 'after')
  pair.scheduler.runUntilIdle()
  t.equal(writes, 4, 'large payload is framed in place, in order')
  const text = pair.serverSays.records[0]?.text() ?? ''
  t.ok(text.startsWith('smallbefore\0') && text.endsWith('\0after'))
})

t.test('a payload deep in its block is framed in place without damage to its neighbours', async (t) => {
  const pair = connectSessions()
  const [stream] = open(pair.client)
  pair.scheduler.runUntilIdle()
  const block = memoryBlock(200_000)
  block.bytes.fill('x')
  stream.write(block, 100_000, 200_000)
  t.ok(
    block.bytes.subarray(0, 100_000 - 16).every((byte) => byte === 0x78),
    'bytes in front are whole',
  )
  t.ok(
    block.bytes.subarray(100_000).every((byte) => byte === 0x78),
    'the payload itself, too',
  )
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.records[0]?.text(), 'x'.repeat(100_000))
})

t.test('ping measures the round trip', async (t) => {
  const pair = connectSessions()
  let roundTripMs = -1
  t.equal(
    pair.client.ping((ms) => (roundTripMs = ms)),
    true,
  )
  pair.scheduler.runUntilIdle()
  t.equal(roundTripMs, 0)
  const silent = new RawPeer('client')
  for (let i = 0; i < 8; i++) t.ok(silent.session.ping(() => t.fail()))
  t.equal(
    silent.session.ping(() => t.fail()),
    false,
    'unanswered pings are bounded',
  )
})

t.test('the peer’s limit of streams is kept, ours is enforced', async (t) => {
  const pair = connectSessions({ server: { local: { maxConcurrentStreams: 2 } } })
  open(pair.client)
  open(pair.client)
  t.equal(pair.client.peerMaxConcurrentStreams, 2)
  t.match(pair.client.openStream(CONNECT), { kind: 'refusal', code: 'LIMIT_CONNECTION' })
  const early = new RawPeer('server', { local: { maxConcurrentStreams: 1 } })
  early.headers(1, CONNECT)
  early.headers(3, CONNECT)
  const refused = early.run().filter((frame) => frame.type === 3)
  t.same(
    refused.map((frame) => [frame.id, frame.payload.readUInt32BE()]),
    [[3, 7]],
  )
})

t.test('an idle stream costs under a kilobyte, an idle session under eight', async (t) => {
  setFlagsFromString('--expose_gc')
  const collect: () => void = runInNewContext('gc')
  const heapBytes = () => {
    collect()
    collect()
    return process.memoryUsage().heapUsed
  }
  const before = heapBytes()
  const pairs = Array.from({ length: 50 }, () => connectSessions())
  const withSessions = heapBytes()
  const handler = new RecordingHandler()
  for (const { client, scheduler, serverSays } of pairs) {
    serverSays.onStream = (stream) => {
      stream.setHandler(handler)
      stream.sendHeaders([':status', '200'], false)
    }
    for (let i = 0; i < 100; i++) {
      const stream = client.openStream(CONNECT)
      if (!isRefusal(stream)) stream.setHandler(handler)
    }
    scheduler.runUntilIdle()
  }
  const withStreams = heapBytes()
  t.equal(pairs[49]?.server.openStreamCount, 100)
  t.ok(
    (withSessions - before) / 100 < 8_192,
    `${(withSessions - before) / 100} bytes a session, transport included`,
  )
  t.ok(
    (withStreams - withSessions) / 10_000 < 1_024,
    `${(withStreams - withSessions) / 10_000} bytes a stream`,
  )
})

t.test('a handler that was never set gets everything once it is', async (t) => {
  const pair = connectSessions()
  pair.serverSays.onStream = (stream) => void pair.serverSays.streams.push(stream)
  const [stream] = open(pair.client)
  send(stream, 'early bytes')
  stream.sendHeaders(['x-t', 'early'], true)
  pair.scheduler.runUntilIdle()
  const server = pair.serverSays.streams[0]
  const record = new RecordingHandler()
  const lists = new RecordingHttpHeaders()
  server?.setHandler(record)
  if (server !== undefined) server.headersHandler = lists
  t.same(record.events, [])
  pair.scheduler.runUntilIdle()
  t.same(record.events, ['data', 'end'])
  t.equal(record.text(), 'early bytes')
  t.same(lists.lists, [['x-t', 'early']])
})

t.test('misuse by our own code throws', async (t) => {
  const pair = connectSessions()
  pair.serverSays.onAccept = () => {}
  open(pair.client)
  pair.scheduler.runUntilIdle()
  t.throws(() => pair.serverSays.streams[0]?.end(), { code: 'INTERNAL' })
  t.throws(() => pair.server.openStream(CONNECT), { code: 'INTERNAL' })
})

t.test(
  'a header table that SETTINGS shrink and grow in one frame is announced at its lowest size',
  async (t) => {
    const peer = new RawPeer('server', { isSilent: true })
    peer.greet([1, 0, 1, 65_536])
    peer.headers(1, CONNECT)
    const answer = peer.run().find(({ type }) => type === 1)
    // RFC 7541 §4.2: size 0, then 4,096, before the indexed :status 200.
    t.equal(answer?.payload.toString('hex'), '203fe11f88')
  },
)
