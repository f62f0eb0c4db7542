// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  EventRings,
  MAX_EVENTS_BYTES,
  MIN_EVENTS_BYTES,
  POD_EVENTS_BYTES,
} from '../../../ztunnel/events/event-rings.ts'

const line = (atMs: number, reason: string, detail = ''): string =>
  `{"time":"${new Date(atMs).toISOString()}","msg":"connection complete","reason":"${reason}","detail":"${detail}"}`
/** As long as a real record. */
const LONG = 'x'.repeat(900)
const change = (atMs: number): string =>
  `{"time":"${new Date(atMs).toISOString()}","msg":"certificate changed","serialNumber":"${atMs}"}`
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
  const room = MIN_EVENTS_BYTES + 2 * POD_EVENTS_BYTES
  t.ok(bytesOf(rings) <= room)
  t.ok(bytesOf(rings) > room - 130_000, 'and no less than has room')
  t.equal(rings.of('shop/quiet').length, 1)
  t.equal(rings.of('shop/noisy').at(-1), line(49, 'RESET', long), 'its oldest are gone')
  for (let index = 0; index < 8000; index++) rings.push(`shop/${index}`, line(index, 'OK', 'x'.repeat(4000)))
  t.ok(bytesOf(rings) <= MAX_EVENTS_BYTES, 'of many pods too')
  t.ok(bytesOf(rings) > MAX_EVENTS_BYTES / 2)
})

t.test('the last 50 failures of each of 110 pods are kept, whatever else happens to them', async (t) => {
  const rings = new EventRings()
  const pods = Array.from({ length: 110 }, (_, index) => `shop/pod-${index}`)
  for (let index = 0; index < 200; index++)
    for (const pod of pods) rings.push(pod, line(index, index % 2 === 0 ? 'ENDPOINT_REFUSED' : 'OK', LONG))
  for (let index = 200; index < 300; index++) for (const pod of pods) rings.push(pod, change(index))
  const failures = Array.from({ length: 50 }, (_, index) => line(100 + 2 * index, 'ENDPOINT_REFUSED', LONG))
  for (const pod of pods)
    t.same(
      rings.of(pod).filter((each) => each.includes('ENDPOINT_REFUSED')),
      failures,
      pod,
    )
  t.ok(rings.byteCount <= MAX_EVENTS_BYTES)
  t.ok(rings.byteCount > bytesOf(rings), 'what an event takes beside its text is counted')
})

t.test('fifty changes of a pod push out none of its failures, and the other way round', async (t) => {
  const rings = new EventRings()
  const failures = Array.from({ length: 50 }, (_, index) => line(index, 'POLICY_DENY'))
  const changes = Array.from({ length: 50 }, (_, index) => change(100 + index))
  for (const each of [...failures, ...changes]) rings.push('shop/front', each)
  t.same(rings.of('shop/front'), [...failures, ...changes])
  rings.push('shop/front', change(500))
  t.same(rings.of('shop/front'), [...failures, ...changes.slice(1), change(500)])
  rings.push('shop/front', line(501, 'POLICY_DENY'))
  t.same(rings.of('shop/front').slice(0, 49), failures.slice(1))
  t.equal(rings.of('shop/front').length, 100)
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
