// SPDX-License-Identifier: Apache-2.0
// Windows, budgets and congestion: who has to wait, who goes on, and what is held meanwhile.
import t from 'tap'
import { InboundBudget } from '../../../mesh/h2/session-resources.ts'
import { CONNECT, connectSessions, open, RawPeer, send, serverWithStream } from '../../support/h2-pair.ts'

const GOAWAY = 7

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

t.test('a frame larger than the rest of the connection window is a flow-control error', async (t) => {
  const peer = new RawPeer('server', { local: { connectionWindowBytes: 65_535 } })
  peer.headers(1, CONNECT)
  peer.run()
  peer.frame(0, 0, 1, Buffer.alloc(65_536))
  const goaway = peer.run().find((frame) => frame.type === GOAWAY)
  t.equal(goaway?.payload.readUInt32BE(4), 3)
  t.equal(peer.says.reason?.code, 'H2_FLOW_CONTROL')
})

t.test('a window shrunk by SETTINGS below zero holds DATA back until it is positive again', async (t) => {
  const peer = serverWithStream()
  const stream = peer.says.streams[0]
  stream?.write({ bytes: Buffer.alloc(60_000), address: 0 }, 0, 60_000)
  peer.frame(4, 0, 0, '000400000064')
  peer.run()
  stream?.write({ bytes: Buffer.alloc(50), address: 0 }, 0, 50)
  t.equal(peer.run().filter((frame) => frame.type === 0).length, 0)
  peer.frame(8, 0, 1, Buffer.from([0, 0, 0xea, 0x60]))
  const data = peer.run().filter((frame) => frame.type === 0)
  t.equal(
    data.reduce((sum, frame) => sum + frame.payload.length, 0),
    50,
  )
})

t.test('windows are credited in quarters', async (t) => {
  const peer = new RawPeer('server', {
    local: { streamWindowBytes: 100_000, connectionWindowBytes: 200_000 },
  })
  peer.headers(1, CONNECT)
  peer.run()
  peer.frame(0, 0, 1, Buffer.alloc(24_999))
  t.same(peer.run(), [])
  peer.frame(0, 0, 1, Buffer.alloc(1))
  t.same(
    peer.run().map((frame) => [frame.type, frame.id, frame.payload.readUInt32BE()]),
    [[8, 1, 25_000]],
  )
  peer.says.streams[0]?.pause()
  peer.frame(0, 0, 1, Buffer.alloc(25_000))
  t.same(
    peer.run().map((frame) => [frame.type, frame.id, frame.payload.readUInt32BE()]),
    [[8, 0, 50_000]],
    'a paused stream is not credited, the connection is',
  )
  peer.says.streams[0]?.resume()
  t.same(
    peer.run().map((frame) => [frame.id, frame.payload.readUInt32BE()]),
    [[1, 25_000]],
  )
})
