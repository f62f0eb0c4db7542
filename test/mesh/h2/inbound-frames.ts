// SPDX-License-Identifier: Apache-2.0
// What a misbehaving peer gets: the error code of the RFC, a reason code, and no more memory than honest peers.
import t from 'tap'
import { CONNECT, open, RawPeer } from '../../support/h2-pair.ts'

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

/** A server under test with small windows and stream 1 open. */
function server(chunkBytes = 262_144): RawPeer {
  const peer = new RawPeer('server', {
    pair: { chunkBytes },
    local: { maxFrameBytes: 16_384, streamWindowBytes: 65_535, connectionWindowBytes: 65_535 },
  })
  peer.headers(1, CONNECT)
  peer.run()
  return peer
}

t.test('a broken connection rule ends the connection with its code', async (t) => {
  for (const { name, act, code, error } of CONNECTION_ERRORS) {
    for (const chunkBytes of [262_144, 1]) {
      const peer = server(chunkBytes)
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

t.test('a frame larger than the rest of the connection window is a flow-control error', async (t) => {
  const peer = new RawPeer('server', { local: { connectionWindowBytes: 65_535 } })
  peer.headers(1, CONNECT)
  peer.run()
  peer.frame(0, 0, 1, Buffer.alloc(65_536))
  const goaway = peer.run().find((frame) => frame.type === GOAWAY)
  t.equal(goaway?.payload.readUInt32BE(4), 3)
  t.equal(peer.says.reason?.code, 'H2_FLOW_CONTROL')
})

t.test('a broken stream rule resets that stream only', async (t) => {
  const fields =
    (...more: string[]) =>
    (p: RawPeer) =>
      p.headers(3, [...CONNECT, ...more])
  const list =
    (...all: string[]) =>
    (p: RawPeer) =>
      p.headers(3, all)
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
    ['CONNECT with a path', fields(':path', '/'), 3, 1],
    ['CONNECT with a scheme', list(':method', 'CONNECT', ':scheme', 'https', ':authority', 'a:1'), 3, 1],
    ['CONNECT without an authority', list(':method', 'CONNECT'), 3, 1],
    ['extended CONNECT', list(':method', 'CONNECT', ':protocol', 'websocket', ':authority', 'a:1'), 3, 1],
    ['a request without a path', list(':method', 'GET', ':scheme', 'https'), 3, 1],
    ['a request with an empty path', list(':method', 'GET', ':scheme', 'https', ':path', ''), 3, 1],
    ['no method', list(':authority', 'a:1'), 3, 1],
    ['a pseudo-header twice', list(':method', 'CONNECT', ':method', 'CONNECT', ':authority', 'a:1'), 3, 1],
    ['a pseudo-header after a field', list(':method', 'CONNECT', 'x', 'y', ':authority', 'a:1'), 3, 1],
    ['a response pseudo-header', fields(':status', '200'), 3, 1],
    ['an upper-case name', fields('X-Up', 'y'), 3, 1],
    ['an empty name', fields('', 'y'), 3, 1],
    ['a name with a space', fields('x y', 'z'), 3, 1],
    ['a line break in a value', fields('x', 'y\r\nz: 1'), 3, 1],
    ['NUL in a value', fields('x', 'y\0'), 3, 1],
    ['a value that ends in a blank', fields('x', 'y '), 3, 1],
    ['connection', fields('connection', 'close'), 3, 1],
    ['transfer-encoding', fields('transfer-encoding', 'chunked'), 3, 1],
    ['te other than trailers', fields('te', 'gzip'), 3, 1],
  ]
  for (const [name, act, id, error] of cases) {
    const peer = server()
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
  const peer = server()
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
  const peer = server()
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

t.test('every kind of flood ends the connection with ENHANCE_YOUR_CALM', async (t) => {
  const floods: Record<string, (peer: RawPeer, i: number) => void> = {
    PING: (p) => p.frame(6, 0, 0, '0000000000000000'),
    'PING acknowledgements': (p) => p.frame(6, 1, 0, '0000000000000000'),
    SETTINGS: (p) => p.frame(4, 0, 0),
    'SETTINGS acknowledgements': (p) => p.frame(4, 1, 0),
    PRIORITY: (p) => p.frame(2, 0, 1, '0000000000'),
    'empty DATA': (p) => p.frame(0, 0, 1),
    'unknown frames': (p) => p.frame(200, 0, 0, 'aa'),
    WINDOW_UPDATE: (p) => p.frame(8, 0, 0, '00000001'),
    'rapid reset': (p, i) => {
      p.headers(3 + i * 2, CONNECT)
      p.frame(3, 0, 3 + i * 2, '00000008')
    },
    'resets we are induced to send': (p, i) => {
      p.headers(3 + i * 2, CONNECT)
      p.frame(8, 0, 3 + i * 2, '00000000')
    },
    'malformed requests': (p, i) => p.headers(3 + i * 2, ['x', 'y']),
    'frames on closed streams': (p) => p.frame(3, 0, 1, '00000000'),
  }
  for (const [name, flood] of Object.entries(floods)) {
    const peer = server()
    peer.says.onAccept = () => {}
    for (let i = 0; i < 12_000 && peer.says.reason === null; i++) {
      flood(peer, i)
      if (i % 100 === 99) peer.scheduler.runUntilIdle()
    }
    const goaway = peer.run().find((frame) => frame.type === GOAWAY)
    t.equal(peer.says.reason?.code, 'H2_FLOOD', name)
    t.equal(goaway?.payload.readUInt32BE(4), 11, name)
  }
})

t.test('the same frames at an honest pace are no flood', async (t) => {
  const peer = server()
  for (let i = 0; i < 2_000; i++) {
    peer.frame(6, 0, 0, '0000000000000000')
    peer.frame(4, 0, 0)
    peer.headers(3 + i * 2, CONNECT)
    peer.frame(3, 0, 3 + i * 2, '00000008')
    peer.scheduler.advance(100)
    if (i % 50 === 0) peer.record.chunks.length = 0
  }
  t.equal(peer.says.reason, null)
})

t.test('a peer that asks and does not read is cut', async (t) => {
  const peer = new RawPeer('server', { pair: { highWaterBytes: 1_000 } })
  peer.transport.pause()
  for (let i = 0; i < 5_000 && peer.says.reason === null; i++) {
    for (let j = 0; j < 5; j++) peer.frame(6, 0, 0, '0000000000000000')
    peer.scheduler.advance(100)
  }
  t.match(peer.says.reason, { code: 'H2_FLOOD', detail: /does not read/ })
})

t.test('a peer without preface or SETTINGS is refused, at once or in time', async (t) => {
  const http1 = new RawPeer('server', { isSilent: true })
  http1.sendBytes(Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'))
  http1.run()
  t.equal(http1.says.reason?.code, 'H2_PREFACE')
  const data = new RawPeer('client', { isSilent: true })
  data.frame(6, 0, 0, '0000000000000000')
  data.run()
  t.equal(data.says.reason?.code, 'H2_PREFACE')
  const silent = new RawPeer('server', { isSilent: true })
  silent.scheduler.advance(9_000)
  t.equal(silent.says.reason, null)
  silent.scheduler.advance(1_000)
  t.equal(silent.says.reason?.code, 'H2_PREFACE')
  const unacknowledged = new RawPeer('client', { isSilent: true })
  unacknowledged.frame(4, 0, 0)
  unacknowledged.scheduler.advance(10_000)
  t.equal(unacknowledged.says.reason?.code, 'H2_SETTINGS_TIMEOUT')
})

t.test('a client refuses malformed responses and passes interim ones over', async (t) => {
  const cases: Array<[name: string, act: (peer: RawPeer) => void, error: number | null]> = [
    ['no status', (p) => p.headers(1, ['x', 'y']), 1],
    ['status of two digits', (p) => p.headers(1, [':status', '20']), 1],
    ['a request pseudo-header', (p) => p.headers(1, [':status', '200', ':path', '/']), 1],
    ['DATA before HEADERS', (p) => p.frame(0, 0, 1, 'aa'), 1],
    ['an interim response that ends', (p) => p.headers(1, [':status', '100'], 5), 1],
    ['too many bytes', (p) => p.headers(1, [':status', '200', 'x', 'y'.repeat(16_400)]), 11],
    [
      'interim, then final',
      (p) => {
        p.headers(1, [':status', '103'])
        p.headers(1, [':status', '200'])
      },
      null,
    ],
  ]
  for (const [name, act, error] of cases) {
    const peer = new RawPeer('client')
    const [, record, lists] = open(peer.session)
    peer.run()
    act(peer)
    const reset = peer.run().find((frame) => frame.type === RST)
    t.equal(reset?.payload.readUInt32BE() ?? null, error, name)
    if (error === null) t.same(lists.lists, [[':status', '200']])
    else t.notSame(record.reason, null, name)
  }
  const peer = new RawPeer('client')
  peer.headers(2, CONNECT)
  peer.run()
  t.equal(peer.says.reason?.code, 'H2_PROTOCOL', 'streams of a server')
  const push = new RawPeer('client')
  push.frame(4, 0, 0, '000200000001')
  push.run()
  t.equal(push.says.reason?.code, 'H2_PROTOCOL', 'ENABLE_PUSH of a server')
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
  const peer = server()
  peer.session.drain()
  peer.scheduler.advance(2_000)
  peer.run()
  peer.headers(3, CONNECT)
  const reset = peer.run().find((frame) => frame.type === RST)
  t.same([reset?.id, reset?.payload.readUInt32BE()], [3, 7])
  t.equal(peer.says.requests.length, 1)
})

t.test('a window shrunk by SETTINGS below zero holds DATA back until it is positive again', async (t) => {
  const peer = server()
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
