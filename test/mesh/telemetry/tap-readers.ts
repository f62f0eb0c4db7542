// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_TAP_READERS, MAX_TAP_UNREAD_BYTES, TapReaders } from '../../../mesh/telemetry/tap-readers.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** Readers that want what contains their filter. */
type Tap = TapReaders<string>

const ALL = ''
const tell = (tap: Tap, pod: string, uid: string): void =>
  tap.tell(
    (filter) => pod.includes(filter),
    () => JSON.stringify({ pod, uid, msg: 'pod enrolled' }),
  )

/** A reader that takes nothing while `isStalled`. */
class Sink {
  text = ''
  isStalled = false
  unreadBytes = 0
  write(text: string): void {
    this.text += text
    if (this.isStalled) this.unreadBytes += text.length
  }
  get lines(): readonly Readonly<Record<string, unknown>>[] {
    return this.text
      .split('\n')
      .filter(Boolean)
      .map((each) => JSON.parse(each))
  }
}

t.test('events go to who wants them, and it is told what all of them want', async (t) => {
  const wanted: (readonly string[])[] = []
  const clock = new ManualClock()
  const tap = new TapReaders<string>(clock, (filters) => wanted.push(filters))
  tell(tap, 'shop/cart', '1')
  const [all, front] = [new Sink(), new Sink()]
  const closeAll = tap.open(ALL, all)
  const closeFront = tap.open('front', front)
  tell(tap, 'shop/cart', '2')
  tell(tap, 'shop/front', '3')
  t.match(all.lines, [
    { pod: 'shop/cart', uid: '2' },
    { pod: 'shop/front', uid: '3', msg: 'pod enrolled' },
  ])
  t.match(front.lines, [{ uid: '3' }])
  t.equal(front.lines.length, 1)
  closeFront()
  t.same(wanted, [[ALL], [ALL, 'front'], [ALL]])
  closeAll()
  closeAll()
  t.same(wanted.slice(3), [[]])
  t.equal(clock.pendingCount, 0)
})

t.test('a reader that stalls loses events, is told how many, and no other reader does', async (t) => {
  const clock = new ManualClock()
  const tap = new TapReaders<string>(clock, () => {})
  const [slow, quick] = [new Sink(), new Sink()]
  slow.isStalled = true
  tap.open(ALL, slow)
  tap.open(ALL, quick)
  const count = 10_000
  for (let index = 0; index < count; index++) tell(tap, 'shop/cart', `${index}`)
  t.equal(quick.lines.length, count)
  t.ok(slow.text.length <= MAX_TAP_UNREAD_BYTES + 200, `${slow.text.length}`)
  const got = slow.lines.length
  t.ok(got > 1000 && got < count)
  clock.advance(10_000)
  t.equal(slow.lines.length, got, 'not even a heartbeat')
  slow.isStalled = false
  slow.unreadBytes = 0
  tell(tap, 'shop/cart', 'last')
  t.match(slow.lines.slice(got), [{ msg: 'events lost', count: count - got }, { uid: 'last' }])
})

t.test('who hears nothing hears a blank line, and what was lost', async (t) => {
  const clock = new ManualClock()
  const tap = new TapReaders<string>(clock, () => {})
  const sink = new Sink()
  tap.open(ALL, sink)
  clock.advance(20_000)
  t.equal(sink.text, '\n\n')
  sink.unreadBytes = MAX_TAP_UNREAD_BYTES + 1
  tell(tap, 'shop/cart', 'lost')
  sink.unreadBytes = 0
  clock.advance(10_000)
  t.match(sink.lines, [{ msg: 'events lost', count: 1 }])
})

t.test('there are so many readers and no more', async (t) => {
  const tap = new TapReaders<string>(new ManualClock(), () => {})
  for (let count = 0; count < MAX_TAP_READERS; count++) {
    t.notOk(tap.isFull)
    tap.open(ALL, new Sink())
  }
  t.ok(tap.isFull)
})

t.test('what was lost before it came here is told too', async (t) => {
  const tap = new TapReaders<string>(new ManualClock(), () => {})
  const sink = new Sink()
  tap.open(ALL, sink)
  tap.lost(3)
  tell(tap, 'shop/cart', '1')
  t.match(sink.lines, [{ msg: 'events lost', count: 3 }, { uid: '1' }])
})
