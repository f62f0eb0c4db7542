// SPDX-License-Identifier: Apache-2.0
// A capture from the relay's side of a worker's ring to the file, without sockets.
import { pino } from 'pino'
import t from 'tap'
import type { RelayCapture } from '../../../mesh/reactor/relay.ts'
import { CaptureRing } from '../../../mesh/telemetry/capture-ring.ts'
import { Captures, MAX_CAPTURE_UNREAD_BYTES } from '../../../ztunnel/capture/captures.ts'
import { PayloadCapture } from '../../../ztunnel/carry/payload-capture.ts'
import type { DownMessage } from '../../../ztunnel/worker-messages.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { readPcapng } from '../../support/read-pcapng.ts'

const POD = { uid: 'u', name: 'cart', namespace: 'shop', serviceAccount: 'cart' }
const ENDS = { client: '10.1.0.1:4000', server: '10.2.0.1:80', isWhole: true }
const [TO_SERVER, TO_CLIENT] = ['10.1.0.1:4000>10.2.0.1:80', '10.2.0.1:80>10.1.0.1:4000']

function setUp() {
  const clock = new ManualClock()
  const logged: Readonly<Record<string, unknown>>[] = []
  const posted: { readonly worker: number; readonly message: DownMessage }[] = []
  const captures = new Captures({
    workers: { count: 2, post: (worker, message) => void posted.push({ worker, message }) },
    clock,
    log: pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) }),
  })
  const written: Uint8Array[] = []
  const sink = {
    unreadBytes: 0,
    isEnded: false,
    write: (bytes: string | Uint8Array) => void written.push(Buffer.from(bytes)),
    end() {
      sink.isEnded = true
    },
  }
  const open = (changes: { readonly seconds?: number; readonly maxBytes?: number } = {}) =>
    captures.open({ pod: POD, seconds: 60, maxBytes: 1_000_000, by: 'anna@desk', ...changes }, sink)
  /** The relay of a connection in a worker that was told. */
  const relay = (worker: number): RelayCapture => {
    const message = posted.findLast((each) => each.worker === worker)?.message
    if (message?.type !== 'capture' || message.memory === null) throw new Error('nothing is captured')
    return new PayloadCapture(new CaptureRing(message.memory), () => clock.nowMs).open(ENDS)
  }
  const file = () => readPcapng(Buffer.concat(written))
  return { captures, clock, logged, posted, sink, open, relay, file }
}
const send = (relay: RelayCapture, isToServer: boolean, offset: number, text: string): void =>
  relay.onData(isToServer, offset, Buffer.from(`--${text}--`), 2, text.length + 2)

t.test('both directions of a connection arrive in the file, and the log says who looked', async (t) => {
  const { open, relay, file, clock, logged, posted, captures, sink } = setUp()
  const close = open()
  t.ok(captures.isRunning)
  const line = relay(1)
  send(line, true, 0, 'GET /')
  send(line, false, 0, '200 ')
  clock.advance(20)
  send(line, false, 4, 'OK')
  line.onEnd()
  clock.advance(20)
  close()
  close()
  const { flows, interfaceName, flags } = file()
  t.equal(interfaceName, 'shop/cart')
  t.same([flows.get(TO_SERVER), flows.get(TO_CLIENT)], ['GET /', '200 OK'])
  t.same(flags, ['S', 'S', '', 'P', 'P', 'P', 'F', 'F', ''])
  t.match(logged, [
    { audit: 'capture', by: 'anna@desk', pod: 'shop/cart', seconds: 60, msg: 'payload capture begins' },
    { audit: 'capture', by: 'anna@desk', pod: 'shop/cart', lost: 0, msg: 'payload capture ended' },
  ])
  t.equal(logged.length, 2)
  t.same(
    posted.slice(-2).map(({ message }) => message),
    [0, 1].map(() => ({ type: 'capture', uid: 'u', memory: null })),
    'the workers stop',
  )
  t.ok(sink.isEnded)
  t.notOk(captures.isRunning)
  t.equal(clock.pendingCount, 0)
})

t.test('it ends by itself: after its time, and when its bytes are used up', async (t) => {
  const timed = setUp()
  timed.open({ seconds: 1 })
  timed.clock.advance(999)
  t.ok(timed.captures.isRunning)
  timed.clock.advance(30)
  t.notOk(timed.captures.isRunning)
  const full = setUp()
  full.open({ maxBytes: 2000 })
  const line = full.relay(0)
  for (let offset = 0; offset < 5000; offset += 100) send(line, true, offset, 'x'.repeat(100))
  full.clock.advance(20)
  t.notOk(full.captures.isRunning)
  const { flows } = full.file()
  t.ok((flows.get(TO_SERVER)?.length ?? 0) > 500 && (flows.get(TO_SERVER)?.length ?? 0) < 2000)
})

t.test('a reader that stalls loses packets, a full ring drops them; both are told', async (t) => {
  const { open, relay, clock, sink, logged, file } = setUp()
  const close = open()
  const line = relay(0)
  sink.unreadBytes = MAX_CAPTURE_UNREAD_BYTES + 1
  send(line, true, 0, 'lost')
  clock.advance(20)
  sink.unreadBytes = 0
  const huge = Buffer.alloc(3_000_000)
  line.onData(false, 0, huge, 0, huge.length)
  line.onData(false, huge.length, huge, 0, huge.length)
  close()
  t.match(logged.at(-1), { lost: 3 }) // the beginning, 'lost', the second huge one
  t.equal(file().flows.get(TO_SERVER), undefined)
})

t.test('a worker that starts anew is told, as long as a capture runs', async (t) => {
  const { captures, open, posted } = setUp()
  captures.introduce(0)
  t.same(posted, [])
  const close = open()
  posted.length = 0
  captures.introduce(1)
  t.match(posted, [{ worker: 1, message: { type: 'capture', uid: 'u', memory: SharedArrayBuffer } }])
  close()
})
