// SPDX-License-Identifier: Apache-2.0
// Peers that cost more than they give, or never begin.
import t from 'tap'
import { CONNECT, RawPeer, serverWithStream } from '../../support/h2-pair.ts'

const GOAWAY = 7

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
    const peer = serverWithStream()
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
  const peer = serverWithStream()
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
