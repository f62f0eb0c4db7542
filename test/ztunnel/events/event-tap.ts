// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatEvent } from '../../../ztunnel/events/event-line.ts'
import { EventTap, MAX_TAP_READERS, MAX_TAP_UNREAD_BYTES } from '../../../ztunnel/events/event-tap.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const ALL = { pod: '', peer: '', reason: '' }
const line = (uid: string): string => formatEvent(0, { msg: 'pod enrolled', uid })

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

t.test('events go to who wants them, on between the first reader and the last', async (t) => {
  const switched: boolean[] = []
  const clock = new ManualClock()
  const tap = new EventTap(clock, (isOn) => switched.push(isOn))
  tap.onEvent('shop/cart', line('1'))
  const [all, front] = [new Sink(), new Sink()]
  const closeAll = tap.open(ALL, all)
  const closeFront = tap.open({ ...ALL, pod: 'front' }, front)
  tap.onEvent('shop/cart', line('2'))
  tap.onEvent('shop/front', line('3'))
  t.match(all.lines, [
    { pod: 'shop/cart', uid: '2' },
    { pod: 'shop/front', uid: '3', msg: 'pod enrolled' },
  ])
  t.match(front.lines, [{ uid: '3' }])
  t.equal(front.lines.length, 1)
  closeFront()
  t.same(switched, [true])
  closeAll()
  closeAll()
  t.same(switched, [true, false])
  t.equal(clock.pendingCount, 0)
})

t.test('a reader that stalls loses events, is told how many, and no other reader does', async (t) => {
  const clock = new ManualClock()
  const tap = new EventTap(clock, () => {})
  const [slow, quick] = [new Sink(), new Sink()]
  slow.isStalled = true
  tap.open(ALL, slow)
  tap.open(ALL, quick)
  const count = 10_000
  for (let index = 0; index < count; index++) tap.onEvent('shop/cart', line(`${index}`))
  t.equal(quick.lines.length, count)
  t.ok(slow.text.length <= MAX_TAP_UNREAD_BYTES + 200, `${slow.text.length}`)
  const got = slow.lines.length
  t.ok(got > 1000 && got < count)
  clock.advance(10_000)
  t.equal(slow.lines.length, got, 'not even a heartbeat')
  slow.isStalled = false
  slow.unreadBytes = 0
  tap.onEvent('shop/cart', line('last'))
  t.match(slow.lines.slice(got), [{ msg: 'events lost', count: count - got }, { uid: 'last' }])
})

t.test('who hears nothing hears a blank line, and what was lost', async (t) => {
  const clock = new ManualClock()
  const tap = new EventTap(clock, () => {})
  const sink = new Sink()
  tap.open(ALL, sink)
  clock.advance(20_000)
  t.equal(sink.text, '\n\n')
  sink.unreadBytes = MAX_TAP_UNREAD_BYTES + 1
  tap.onEvent('shop/cart', line('lost'))
  sink.unreadBytes = 0
  clock.advance(10_000)
  t.match(sink.lines, [{ msg: 'events lost', count: 1 }])
})

t.test('there are so many readers and no more', async (t) => {
  const tap = new EventTap(new ManualClock(), () => {})
  for (let count = 0; count < MAX_TAP_READERS; count++) {
    t.notOk(tap.isFull)
    tap.open(ALL, new Sink())
  }
  t.ok(tap.isFull)
})
