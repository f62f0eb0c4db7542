// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { EventRings, MAX_EVENTS_BYTES } from '../../../ztunnel/events/event-rings.ts'

const line = (atMs: number, reason: string, detail = ''): string =>
  `{"time":"${new Date(atMs).toISOString()}","msg":"connection complete","reason":"${reason}","detail":"${detail}"}`
const bytesOf = (rings: EventRings): number =>
  Object.values(rings.all())
    .flat()
    .reduce((sum, each) => sum + each.length, 0)

t.test('many good ends do not push out what failed', async (t) => {
  const rings = new EventRings()
  rings.push('shop/front', line(1, 'POLICY_DENY'))
  for (let index = 2; index < 1000; index++) rings.push('shop/front', line(index, 'OK'))
  const found = rings.of('shop/front')
  t.equal(found.length, 51)
  t.equal(found[0], line(1, 'POLICY_DENY'), 'oldest first')
  t.equal(found.at(-1), line(999, 'OK'))
  for (let index = 1000; index < 1100; index++) rings.push('shop/front', line(index, 'RESET'))
  t.equal(rings.of('shop/front').length, 100)
  t.same(rings.of('shop/other'), [])
})

t.test('all together have their limit, and the pod with the most pays for it', async (t) => {
  const rings = new EventRings()
  rings.push('shop/quiet', line(1, 'POLICY_DENY'))
  const long = 'x'.repeat(60_000)
  for (let index = 0; index < 50; index++) rings.push('shop/noisy', line(index, 'RESET', long))
  t.ok(bytesOf(rings) <= MAX_EVENTS_BYTES)
  t.ok(bytesOf(rings) > MAX_EVENTS_BYTES - 130_000, 'and no less than has room')
  t.equal(rings.of('shop/quiet').length, 1)
  t.equal(rings.of('shop/noisy').at(-1), line(49, 'RESET', long), 'its oldest are gone')
  for (let index = 0; index < 40_000; index++) rings.push(`shop/${index}`, line(index, 'OK'))
  t.ok(bytesOf(rings) <= MAX_EVENTS_BYTES, 'of many pods too')
})

t.test('what two processes have is put together in order, each event once', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 40 }), fc.nat(40), (times, cut) => {
      const [one, other] = [new EventRings(), new EventRings()]
      const lines = [...new Set(times)].map((atMs) => line(atMs, 'RESET'))
      for (const each of lines.slice(0, cut + 5)) one.push('a/b', each)
      for (const each of lines.slice(cut)) other.push('a/b', each)
      one.merge(other.all())
      one.merge(other.all())
      t.same(one.of('a/b'), lines.toSorted())
    }),
  )
})
