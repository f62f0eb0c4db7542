// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_TAP_READERS, TapReaders } from '../../../mesh/telemetry/tap-readers.ts'
import type { App } from '../../../ztunnel/app.ts'
import { events, tap } from '../../../ztunnel/events/event-routes.ts'
import { ManualClock } from '../../support/manual-clock.ts'

t.test('the events of one pod, or of all; lines that were cut are left out', async (t) => {
  let drained = 0
  const lines = ['{"time":"1","msg":"a"}', '{"time":"2","ms', '{"time":"3","msg":"b"}']
  const app = {
    records: { drain: () => drained++ },
    events: {
      of: (pod: string) => (pod === 'shop/front' ? lines : []),
      all: () => ({ 'shop/front': lines }),
    },
  } as unknown as App // as: what these routes look at
  const ask = (query: string): unknown => JSON.parse(events(app, new URLSearchParams(query)).body)
  const whole = [
    { time: '1', msg: 'a' },
    { time: '3', msg: 'b' },
  ]
  t.same(ask('pod=shop/front'), whole)
  t.same(ask('pod=shop/nobody'), [])
  t.same(ask(''), { 'shop/front': whole })
  t.equal(drained, 3, 'what the workers have just written is in it')
})

t.test('a tap is a stream, unless its filter is none or too many listen', async (t) => {
  const readers = new TapReaders(new ManualClock(), () => {})
  const app = { events: { tap: readers } } as unknown as App // as: what this route looks at
  t.match(tap(app, new URLSearchParams('reason=NONE')), { status: 400 })
  const sink = { write: () => {}, unreadBytes: 0, end: () => {} }
  const ends = Array.from({ length: MAX_TAP_READERS }, () => {
    const answer = tap(app, new URLSearchParams('pod=shop/front'))
    return 'open' in answer ? answer.open(sink) : t.fail('no stream')
  })
  t.match(tap(app, new URLSearchParams()), { status: 503 })
  const [end] = ends
  if (typeof end === 'function') end()
  t.ok('open' in tap(app, new URLSearchParams()))
})
