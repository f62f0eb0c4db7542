// SPDX-License-Identifier: Apache-2.0
// Two sessions against each other: what users of the stack rely on.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { InboundBudget } from '../../../mesh/h2/session-resources.ts'
import { memoryBlock } from '../../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { CONNECT, connectSessions, open, RawPeer, send } from '../../support/h2-pair.ts'

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

t.test('a stream that is not read does not stall its neighbour', async (t) => {
  const pair = connectSessions({
    server: { local: { streamWindowBytes: 100_000, connectionWindowBytes: 400_000 } },
  })
  const [slow] = open(pair.client)
  const [fast] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.serverSays.streams[0]?.pause()
  t.equal(send(slow, Buffer.alloc(300_000, 's')), false)
  pair.scheduler.runUntilIdle()
  t.equal(pair.server.bufferedInboundBytes, 100_000, 'the window of the slow stream bounds its memory')
  for (let i = 0; i < 50; i++) {
    send(fast, Buffer.alloc(50_000, 'f'))
    pair.scheduler.runUntilIdle()
  }
  t.equal(pair.serverSays.records[1]?.bytes, 2_500_000)
  t.equal(pair.serverSays.records[0]?.bytes, 0)
  pair.serverSays.streams[0]?.resume()
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.records[0]?.bytes, 300_000)
  t.equal(pair.server.bufferedInboundBytes, 0)
  t.equal(pair.resources.inboundUsedBytes, 0)
})

t.test('waiting streams share the connection window in turns of at most 64 KiB', async (t) => {
  const peer = new RawPeer('client')
  const streams = [open(peer.session)[0], open(peer.session)[0]]
  peer.frame(4, 0, 0, '000400400000 000500ffffff')
  peer.run()
  for (const stream of streams) send(stream, Buffer.alloc(400_000))
  peer.run()
  peer.frame(8, 0, 0, '00100000')
  const data = peer.run().filter((frame) => frame.type === 0)
  t.ok(data.every((frame) => frame.payload.length <= 65_536))
  const order = data.map((frame) => frame.id)
  t.same(order.slice(0, 6), [1, 3, 1, 3, 1, 3])
})

t.test('one active stream uses frames as large as the peer takes', async (t) => {
  const pair = connectSessions()
  const [stream] = open(pair.client)
  pair.scheduler.runUntilIdle()
  const peer = new RawPeer('client')
  const [alone] = open(peer.session)
  peer.frame(4, 0, 0, '000400400000 000500100000')
  peer.frame(8, 0, 0, '00400000')
  peer.run()
  send(alone, Buffer.alloc(500_000))
  t.same(
    peer
      .run()
      .filter((frame) => frame.type === 0)
      .map((frame) => frame.payload.length),
    [500_000],
  )
  send(stream, Buffer.alloc(1_500_000))
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.records[0]?.bytes, 1_500_000)
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

t.test('a reset reaches the other end with its meaning', async (t) => {
  const pair = connectSessions()
  const [stream, record] = open(pair.client)
  const [other, otherRecord] = open(pair.client)
  pair.scheduler.runUntilIdle()
  stream.destroy({ code: 'POLICY_CHANGED', detail: 'local' })
  t.equal(record.reason, null, 'onClose never comes from inside destroy')
  pair.serverSays.streams[1]?.destroy({ code: 'LIMIT_POD', detail: '' })
  pair.scheduler.runUntilIdle()
  t.same(record.reason, { code: 'POLICY_CHANGED', detail: 'local' })
  t.same(pair.serverSays.records[0]?.reason, { code: 'STREAM_RESET', detail: 'cancel' })
  t.same(otherRecord.reason, { code: 'STREAM_RESET', detail: 'enhance_your_calm' })
  t.equal(other.isClosed, true)
  t.equal(pair.client.state, 'open')
})

t.test('a CANCEL is no end: what waits is not taken for the whole', async (t) => {
  const pair = connectSessions()
  const [stream] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.serverSays.streams[0]?.pause()
  send(stream, 'tail')
  pair.scheduler.runUntilIdle()
  stream.destroy({ code: 'POLICY_CHANGED', detail: '' })
  pair.scheduler.runUntilIdle()
  pair.serverSays.streams[0]?.resume()
  pair.scheduler.runUntilIdle()
  t.same(pair.serverSays.records[0]?.events, ['close'])
  t.same(pair.serverSays.records[0]?.reason, { code: 'STREAM_RESET', detail: 'cancel' })
})

t.test('a connection that broke behind the stream is never read as its end', async (t) => {
  for (const code of [
    'PEER_RESET',
    'PEER_UNRESPONSIVE',
    'TUNNEL_RESET',
    'SHUTDOWN',
    'DRAIN',
    'WORKER_LOST',
  ] as const) {
    const pair = connectSessions()
    const [stream] = open(pair.client)
    pair.scheduler.runUntilIdle()
    stream.destroy({ code, detail: '' })
    pair.scheduler.runUntilIdle()
    t.same(pair.serverSays.records[0]?.events, ['close'], code)
    t.same(pair.serverSays.records[0]?.reason, { code: 'STREAM_RESET', detail: 'connect_error' })
  }
})

t.test('a draining server finishes its streams and takes no new ones', async (t) => {
  const pair = connectSessions()
  const [stream, record] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.server.drain()
  pair.server.drain()
  pair.scheduler.runUntilIdle()
  t.same(
    pair.clientSays.events.filter((event) => event.startsWith('goaway')),
    ['goaway 2147483647 0', 'goaway 1 0'],
  )
  t.equal(pair.client.isDraining, true)
  t.match(pair.client.openStream(CONNECT), { kind: 'refusal', code: 'DRAIN' })
  send(stream, 'goes on')
  stream.end()
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.records[0]?.text(), 'goes on')
  pair.serverSays.streams[0]?.end()
  pair.scheduler.runUntilIdle()
  t.equal(record.reason?.code, 'OK')
  t.equal(pair.serverSays.reason?.code, 'OK')
  t.equal(pair.clientSays.reason?.code, 'OK')
  pair.scheduler.advance(20_000)
  t.equal(pair.scheduler.timerCount, 0)
  t.ok(pair.transports.every((transport) => transport.isClosed))
})

t.test('a draining client closes when its last stream ends; an idle one at once', async (t) => {
  const pair = connectSessions()
  const [stream] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.client.drain()
  pair.scheduler.runUntilIdle()
  t.equal(pair.clientSays.reason, null)
  stream.end()
  pair.serverSays.streams[0]?.end()
  pair.scheduler.runUntilIdle()
  t.equal(pair.clientSays.reason?.code, 'OK')
  const idle = connectSessions()
  idle.client.drain()
  idle.scheduler.runUntilIdle()
  t.equal(idle.clientSays.reason?.code, 'OK')
  t.equal(idle.serverSays.reason?.code, 'OK')
})

t.test('destroy ends all streams with the reason, then the session', async (t) => {
  const pair = connectSessions()
  const [, record] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.client.destroy({ code: 'CERT_REVOKED', detail: 'x' })
  t.equal(record.reason, null)
  pair.scheduler.runUntilIdle()
  t.equal(record.reason?.code, 'CERT_REVOKED')
  t.equal(pair.clientSays.reason?.code, 'CERT_REVOKED')
  t.equal(pair.serverSays.records[0]?.reason?.code, 'TUNNEL_RESET')
  pair.scheduler.advance(5_000)
  t.equal(pair.scheduler.timerCount, 0)
})

t.test('a transport that breaks ends everything with its reason', async (t) => {
  const pair = connectSessions()
  const [, record] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.transports[0].destroy({ code: 'TLS_BROKEN', detail: '' })
  pair.scheduler.runUntilIdle()
  t.equal(record.reason?.code, 'TLS_BROKEN')
  t.equal(pair.clientSays.reason?.code, 'TLS_BROKEN')
  t.equal(pair.serverSays.reason?.code, 'PEER_RESET')
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

t.test('when the budget for waiting bytes is spent the stream is reset with LIMIT_NODE', async (t) => {
  const pair = connectSessions({ inboundLimitBytes: 200_000 })
  const [stream, record] = open(pair.client)
  pair.scheduler.runUntilIdle()
  pair.serverSays.streams[0]?.pause()
  for (let i = 0; i < 10; i++) send(stream, Buffer.alloc(50_000))
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.records[0]?.reason?.code, 'LIMIT_NODE')
  t.equal(record.reason?.code, 'STREAM_RESET')
  t.equal(pair.resources.inboundUsedBytes, 0)
  t.equal(pair.server.bufferedInboundBytes, 0)
})

t.test(
  'a session whose owner has a budget of its own loses its streams, and no other session does',
  async (t) => {
    const budget = new InboundBudget(100_000)
    const pair = connectSessions({ inboundLimitBytes: 1 << 22, server: { budget } })
    const [stream] = open(pair.client)
    pair.scheduler.runUntilIdle()
    pair.serverSays.streams[0]?.pause()
    for (let i = 0; i < 10; i++) send(stream, Buffer.alloc(50_000))
    pair.scheduler.runUntilIdle()
    t.equal(pair.serverSays.records[0]?.reason?.code, 'LIMIT_POD')
    t.same([budget.usedBytes, pair.resources.inboundUsedBytes], [0, 0], 'all of it is given back')
    const [next] = open(pair.client)
    pair.scheduler.runUntilIdle()
    pair.serverSays.streams[1]?.pause()
    send(next, Buffer.alloc(20_000))
    pair.scheduler.runUntilIdle()
    t.ok(budget.usedBytes >= 20_000 && budget.usedBytes <= 100_000)
    t.equal(pair.resources.inboundUsedBytes, budget.usedBytes)
    pair.serverSays.streams[1]?.resume()
    pair.scheduler.runUntilIdle()
    t.same([budget.usedBytes, pair.resources.inboundUsedBytes], [0, 0])
  },
)

t.test('a congested transport stops writers and wakes all of them', async (t) => {
  const pair = connectSessions({ highWaterBytes: 20_000 })
  const all = Array.from({ length: 5 }, () => open(pair.client))
  pair.scheduler.runUntilIdle()
  pair.transports[1].pause()
  for (const [stream] of all) send(stream, Buffer.alloc(30_000))
  t.ok(all.every(([stream]) => send(stream, 'more') === false))
  pair.scheduler.runUntilIdle()
  t.ok(all.every(([, record]) => !record.events.includes('drain')))
  pair.transports[1].resume()
  pair.scheduler.runUntilIdle()
  t.ok(all.every(([, record]) => record.events.includes('drain')))
  t.ok(pair.serverSays.records.every((record) => record.bytes === 30_004))
})

t.test('large header lists travel in several frames; too large ones are refused', async (t) => {
  const pair = connectSessions()
  const [, , lists] = open(pair.client, [...CONNECT, 'x-long', 'y'.repeat(40_000)])
  pair.scheduler.runUntilIdle()
  t.equal(pair.serverSays.requests[0]?.[5]?.length, 40_000)
  t.equal(lists.lists.length, 1)
  t.match(pair.client.openStream([...CONNECT, 'x-long', 'y'.repeat(70_000)]), {
    code: 'H2_HEADERS_TOO_LARGE',
  })
})

t.test('a list over the limit is answered 431 and the connection survives', async (t) => {
  const peer = new RawPeer('server', { local: { maxHeaderListBytes: 1_000 } })
  peer.headers(1, [...CONNECT, 'x-long', 'y'.repeat(1_500)], 0x4)
  peer.headers(3, CONNECT)
  const frames = peer.run()
  const answer = frames.find((frame) => frame.type === 1)
  const block = answer && peer.decoder.decode(answer.payload, 0, answer.payload.length)
  t.same(block !== undefined && !isRefusal(block) && block.fields, [':status', '431'])
  t.same(peer.says.events, ['settings', 'stream 3'])
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
      stream.respond([':status', '200'], false)
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
  stream.end()
  pair.scheduler.runUntilIdle()
  const server = pair.serverSays.streams[0]
  const record = new RecordingHandler()
  server?.setHandler(record)
  t.same(record.events, [])
  pair.scheduler.runUntilIdle()
  t.same(record.events, ['data', 'end'])
  t.equal(record.text(), 'early bytes')
})

t.test('misuse by our own code throws', async (t) => {
  const pair = connectSessions()
  pair.serverSays.onAccept = () => {}
  open(pair.client)
  pair.scheduler.runUntilIdle()
  t.throws(() => pair.serverSays.streams[0]?.end(), { code: 'INTERNAL' })
  t.throws(() => pair.server.openStream(CONNECT), { code: 'INTERNAL' })
})

t.test('a stream is not told to write while another one has filled the transport again', async (t) => {
  const peer = new RawPeer('client', { pair: { highWaterBytes: 8_000 } })
  const [first, firstRecord] = open(peer.session)
  const [second, secondRecord] = open(peer.session)
  peer.run()
  peer.transport.pause()
  t.equal(send(first, Buffer.alloc(9_000)), false)
  t.equal(send(second, 'waits'), false)
  let drainCount = 0
  firstRecord.onDrain = () => {
    if (drainCount++ > 0) return
    peer.transport.pause()
    t.equal(send(first, Buffer.alloc(9_000)), false)
  }
  peer.transport.resume()
  peer.run()
  t.equal(drainCount, 1)
  t.notOk(secondRecord.events.includes('drain'))
  peer.transport.resume()
  peer.run()
  t.ok(secondRecord.events.includes('drain'))
})

t.test('bytes held back by a shut window leave when SETTINGS open it', async (t) => {
  const peer = new RawPeer('client')
  peer.frame(4, 0, 0, '000400000000')
  peer.run()
  const [stream] = open(peer.session)
  t.equal(send(stream, 'held'), false)
  peer.frame(8, 0, 0, '00000001')
  t.equal(peer.run().filter((frame) => frame.type === 0).length, 0)
  peer.frame(4, 0, 0, '000400000064')
  const data = peer.run().filter((frame) => frame.type === 0)
  t.same(
    data.map((frame) => frame.payload.toString()),
    ['held'],
  )
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
