// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { formatEvent } from '../../../ztunnel/events/event-line.ts'
import { isWanted, parseTapFilter, type TapFilter } from '../../../ztunnel/events/tap-filter.ts'
import { NOW_MS } from '../../support/node-views.ts'

const record = (fields: Readonly<Record<string, string>>): string =>
  formatEvent(NOW_MS, {
    msg: 'connection complete',
    ...{ reason: 'POLICY_DENY', direction: 'inbound', 'src.addr': '10.1.0.1:4000', ...fields },
    ...{ 'src.workload': 'front', 'src.namespace': 'shop', 'src.identity': 'spiffe://d/ns/shop/sa/front' },
    ...{ 'dst.addr': '10.2.0.1:80', 'dst.workload': 'cart', 'dst.namespace': 'shop', detail: 'x' },
  })
const wants = (filter: Partial<TapFilter>, line = record({}), owner = 'shop/cart'): boolean =>
  isWanted({ pod: '', peer: '', reason: '', ...filter }, owner, line)

t.test('pods by their whole name or its last part', async (t) => {
  for (const pod of ['', 'cart', 'shop/cart']) t.ok(wants({ pod }), pod)
  for (const pod of ['art', 'hop/cart', 'shop', 'other/cart']) t.notOk(wants({ pod }), pod)
})

t.test('the other end by name, address or identity; never the own one', async (t) => {
  const front = ['front', 'shop/front', '10.1.0.1', '10.1.0.1:4000', 'spiffe://d/ns/shop/sa/front']
  for (const peer of front) t.ok(wants({ peer }), peer)
  for (const peer of ['cart', '10.2.0.1', 'fron', 'other/front', 'x']) t.notOk(wants({ peer }), peer)
  const outbound = record({ direction: 'outbound' })
  t.ok(wants({ peer: 'shop/cart' }, outbound, 'shop/front'))
  t.notOk(wants({ peer: 'shop/front' }, outbound, 'shop/front'))
  t.ok(wants({ peer: 'fd00::1' }, record({ 'src.addr': '[fd00::1]:4000' })))
})

t.test('a reason is that of a record, and nothing else has one', async (t) => {
  t.ok(wants({ reason: 'POLICY_DENY' }))
  t.notOk(wants({ reason: 'OK' }))
  t.notOk(wants({ reason: 'OK' }, record({ policy: ',"reason":"OK",' })), 'no text of others counts')
  t.notOk(wants({ reason: 'OK' }, formatEvent(NOW_MS, { msg: 'pod enrolled', reason: 'OK' })))
})

t.test('what is no filter is refused', async (t) => {
  const parse = (query: string) => parseTapFilter(new URLSearchParams(query))
  t.same(parse('pod=a&peer=b&reason=OK&x=y'), { pod: 'a', peer: 'b', reason: 'OK' })
  t.same(parse(''), { pod: '', peer: '', reason: '' })
  t.notOk(isRefusal(parse(`pod=${'x'.repeat(512)}`)))
  for (const query of ['reason=NONE', `pod=${'x'.repeat(513)}`, `peer=${'x'.repeat(513)}`])
    t.ok(isRefusal(parse(query)), query.slice(0, 20))
})
