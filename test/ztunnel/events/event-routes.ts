// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { App } from '../../../ztunnel/app.ts'
import { events } from '../../../ztunnel/events/event-routes.ts'

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
