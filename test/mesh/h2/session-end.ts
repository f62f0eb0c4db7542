// SPDX-License-Identifier: Apache-2.0
// How streams and connections end: resets, drains, GOAWAY, transports that break.
import t from 'tap'
import { CONNECT, connectSessions, open, RawPeer, send, serverWithStream } from '../../support/h2-pair.ts'

const RST = 3

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

t.test('GOAWAY ends the streams the peer did not process, the others finish', async (t) => {
  const peer = new RawPeer('client')
  const [first, firstRecord] = open(peer.session)
  const [, secondRecord] = open(peer.session)
  peer.run()
  peer.headers(1, [':status', '200'])
  peer.frame(7, 0, 0, '00000001 00000000')
  peer.run()
  t.equal(secondRecord.reason?.code, 'DRAIN')
  t.equal(firstRecord.reason, null)
  t.equal(peer.session.isDraining, true)
  peer.frame(0, 1, 1, 'aa')
  first.end()
  peer.run()
  t.equal(firstRecord.reason?.code, 'OK')
  t.equal(peer.says.reason?.code, 'OK')
})

t.test('after the final GOAWAY of a drain new streams are refused with REFUSED_STREAM', async (t) => {
  const peer = serverWithStream()
  peer.session.drain()
  peer.scheduler.advance(2_000)
  peer.run()
  peer.headers(3, CONNECT)
  const reset = peer.run().find((frame) => frame.type === RST)
  t.same([reset?.id, reset?.payload.readUInt32BE()], [3, 7])
  t.equal(peer.says.requests.length, 1)
})
