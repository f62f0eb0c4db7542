// SPDX-License-Identifier: Apache-2.0
// What a misbehaving peer gets: the error code of the RFC, a reason code, and no more memory than honest peers.
import t from 'tap'
import { CONNECT, type RawPeer, serverWithStream } from '../../support/h2-pair.ts'

const GOAWAY = 7
const RST = 3
const GET = [':method', 'GET', ':scheme', 'https', ':authority', 'a', ':path', '/']

interface Case {
  readonly name: string
  readonly act: (peer: RawPeer) => void
  readonly code: string
  readonly error: number
}

/** Every one of these ends the connection of a server that has stream 1 open. */
const CONNECTION_ERRORS: Case[] = [
  { name: 'DATA on stream 0', act: (p) => p.frame(0, 0, 0, 'aa'), code: 'H2_PROTOCOL', error: 1 },
  { name: 'DATA on an idle stream', act: (p) => p.frame(0, 0, 9, 'aa'), code: 'H2_PROTOCOL', error: 1 },
  { name: 'padding beyond the frame', act: (p) => p.frame(0, 8, 1, '05aa'), code: 'H2_PROTOCOL', error: 1 },
  { name: 'a padded frame of no bytes', act: (p) => p.frame(0, 8, 1), code: 'H2_FRAME_SIZE', error: 6 },
  {
    name: 'a frame over the announced size',
    act: (p) => p.frame(0, 0, 1, Buffer.alloc(16_385)),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  { name: 'HEADERS on stream 0', act: (p) => p.headers(0, CONNECT), code: 'H2_PROTOCOL', error: 1 },
  { name: 'HEADERS on an even stream', act: (p) => p.headers(2, CONNECT), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'HEADERS padding beyond the frame',
    act: (p) => p.frame(1, 0xc, 3, 'ff82'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'HEADERS without priority bytes',
    act: (p) => p.frame(1, 0x24, 3, '8282'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  { name: 'a damaged header block', act: (p) => p.frame(1, 4, 3, 'ff'), code: 'H2_COMPRESSION', error: 9 },
  {
    name: 'a frame between HEADERS and CONTINUATION',
    act: (p) => {
      p.frame(1, 0, 3, '82')
      p.frame(6, 0, 0, '0000000000000000')
    },
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'CONTINUATION of another stream',
    act: (p) => {
      p.frame(1, 0, 3, '82')
      p.frame(9, 4, 5, '82')
    },
    code: 'H2_PROTOCOL',
    error: 1,
  },
  { name: 'CONTINUATION alone', act: (p) => p.frame(9, 4, 1, '82'), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'CONTINUATION without end',
    act: (p) => {
      p.frame(1, 0, 3, '82')
      for (let i = 0; i < 20; i++) p.frame(9, 0, 3)
    },
    code: 'H2_FLOOD',
    error: 11,
  },
  {
    name: 'a header block over twice the list limit',
    act: (p) => {
      p.frame(1, 0, 3, Buffer.alloc(16_000, 0x82))
      for (let i = 0; i < 8; i++) p.frame(9, 0, 3, Buffer.alloc(16_000, 0x82))
    },
    code: 'H2_HEADERS_TOO_LARGE',
    error: 11,
  },
  { name: 'PRIORITY on stream 0', act: (p) => p.frame(2, 0, 0, '0000000000'), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'PRIORITY of four bytes',
    act: (p) => p.frame(2, 0, 1, '00000000'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  { name: 'RST_STREAM on stream 0', act: (p) => p.frame(3, 0, 0, '00000008'), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'RST_STREAM on an idle stream',
    act: (p) => p.frame(3, 0, 7, '00000008'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'RST_STREAM of three bytes',
    act: (p) => p.frame(3, 0, 1, '000008'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  { name: 'SETTINGS on a stream', act: (p) => p.frame(4, 0, 1), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'SETTINGS of five bytes',
    act: (p) => p.frame(4, 0, 0, '0001000000'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  {
    name: 'SETTINGS acknowledged with payload',
    act: (p) => p.frame(4, 1, 0, '000100000000'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  { name: 'ENABLE_PUSH of 2', act: (p) => p.frame(4, 0, 0, '000200000002'), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'INITIAL_WINDOW_SIZE of 2^31',
    act: (p) => p.frame(4, 0, 0, '000480000000'),
    code: 'H2_FLOW_CONTROL',
    error: 3,
  },
  {
    name: 'MAX_FRAME_SIZE too small',
    act: (p) => p.frame(4, 0, 0, '000500003fff'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'MAX_FRAME_SIZE too large',
    act: (p) => p.frame(4, 0, 0, '000501000000'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'a window lifted over 2^31−1 by SETTINGS',
    act: (p) => {
      p.frame(8, 0, 1, '7fff0000')
      p.frame(4, 0, 0, '00047fffffff')
    },
    code: 'H2_FLOW_CONTROL',
    error: 3,
  },
  { name: 'PUSH_PROMISE', act: (p) => p.frame(5, 4, 1, '0000000282'), code: 'H2_PROTOCOL', error: 1 },
  {
    name: 'PING on a stream',
    act: (p) => p.frame(6, 0, 1, '0000000000000000'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'PING of seven bytes',
    act: (p) => p.frame(6, 0, 0, '00000000000000'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  {
    name: 'GOAWAY on a stream',
    act: (p) => p.frame(7, 0, 1, '0000000000000000'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'GOAWAY of seven bytes',
    act: (p) => p.frame(7, 0, 0, '00000000000000'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  {
    name: 'WINDOW_UPDATE of 0 on the connection',
    act: (p) => p.frame(8, 0, 0, '00000000'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'WINDOW_UPDATE over 2^31−1',
    act: (p) => p.frame(8, 0, 0, '7fffffff'),
    code: 'H2_FLOW_CONTROL',
    error: 3,
  },
  {
    name: 'WINDOW_UPDATE on an idle stream',
    act: (p) => p.frame(8, 0, 7, '00000001'),
    code: 'H2_PROTOCOL',
    error: 1,
  },
  {
    name: 'WINDOW_UPDATE of three bytes',
    act: (p) => p.frame(8, 0, 1, '000001'),
    code: 'H2_FRAME_SIZE',
    error: 6,
  },
  {
    name: 'HEADERS on a stream that ended',
    act: (p) => {
      p.says.streams[0]?.end()
      p.frame(0, 1, 1)
      p.run()
      p.headers(1, CONNECT)
    },
    code: 'H2_STREAM_CLOSED',
    error: 5,
  },
]

t.test('a broken connection rule ends the connection with its code', async (t) => {
  for (const { name, act, code, error } of CONNECTION_ERRORS) {
    for (const chunkBytes of [262_144, 1]) {
      const peer = serverWithStream(chunkBytes)
      act(peer)
      const goaway = peer.run().find((frame) => frame.type === GOAWAY)
      t.equal(goaway?.payload.readUInt32BE(4), error, `${name}: GOAWAY`)
      t.equal(peer.says.reason?.code, code, name)
      t.equal(
        peer.says.records[0]?.reason?.code ?? 'OK',
        name.includes('ended') ? 'OK' : code,
        `${name}: the stream is told`,
      )
      peer.scheduler.advance(10_000)
      t.equal(peer.scheduler.timerCount, 0, `${name}: no timer stays`)
    }
  }
})

t.test('a broken stream rule resets that stream only', async (t) => {
  const cases: Array<[name: string, act: (peer: RawPeer) => void, id: number, error: number]> = [
    [
      'more DATA than the stream window',
      (p) => {
        p.says.streams[0]?.pause()
        for (let i = 0; i < 5; i++) p.frame(0, 0, 1, Buffer.alloc(16_000))
      },
      1,
      3,
    ],
    [
      'DATA after END_STREAM',
      (p) => {
        p.frame(0, 1, 1)
        p.frame(0, 0, 1, 'aa')
      },
      1,
      5,
    ],
    ['WINDOW_UPDATE of 0', (p) => p.frame(8, 0, 1, '00000000'), 1, 1],
    ['a stream window over 2^31−1', (p) => p.frame(8, 0, 1, '7fffffff'), 1, 3],
    ['a stream that depends on itself', (p) => p.frame(2, 0, 1, '0000000100'), 1, 1],
    ['HEADERS in the middle', (p) => p.headers(1, ['x', 'y'], 4), 1, 1],
    ['trailers with a pseudo-header', (p) => p.headers(1, [':path', '/'], 5), 1, 1],
    [
      'DATA on a stream closed in order',
      (p) => {
        p.says.streams[0]?.end()
        p.frame(0, 1, 1)
        p.run()
        p.frame(0, 0, 1, 'aa')
      },
      1,
      5,
    ],
  ]
  for (const [name, act, id, error] of cases) {
    const peer = serverWithStream()
    act(peer)
    const resets = peer.run().filter((frame) => frame.type === RST)
    t.same(
      resets.map((frame) => [frame.id, frame.payload.readUInt32BE()]),
      [[id, error]],
      name,
    )
    t.equal(peer.session.state, 'open', name)
    peer.headers(5, CONNECT)
    peer.run()
    t.ok(peer.says.events.includes('stream 5'), `${name}: the connection goes on`)
  }
})

t.test('well-formed requests and unknown things are taken', async (t) => {
  const peer = serverWithStream()
  peer.headers(3, GET, 5)
  peer.headers(5, [...CONNECT, 'te', 'trailers', 'x', ''])
  peer.frame(
    1,
    0x2c,
    7,
    Buffer.concat([Buffer.from('02000000000f', 'hex'), peer.block(CONNECT), Buffer.alloc(2)]),
  )
  peer.frame(77, 0xff, 5, 'aabb')
  peer.frame(4, 0, 0, '00ff00000001')
  peer.frame(0, 8, 1, '0261620000')
  peer.headers(1, ['trailer', 'x'], 5)
  t.equal(peer.run().filter((frame) => frame.type === RST).length, 0)
  t.same(peer.says.events.slice(1), ['stream 1', 'stream 3 end', 'stream 5', 'stream 7', 'settings'])
  t.equal(peer.says.records[0]?.text(), 'ab')
  t.same(peer.says.records[0]?.events, ['data', 'end'])
})

t.test('a frame for a stream we reset a moment ago is ignored and still credited', async (t) => {
  const peer = serverWithStream()
  peer.says.streams[0]?.destroy({ code: 'POLICY_CHANGED', detail: '' })
  peer.frame(0, 0, 1, Buffer.alloc(16_384))
  peer.headers(1, ['x', 'y'], 5)
  peer.frame(8, 0, 1, '00000001')
  const frames = peer.run()
  t.same(
    frames.map((frame) => [frame.type, frame.id]),
    [
      [RST, 1],
      [8, 0],
    ],
  )
  t.equal(peer.session.state, 'open')
})
