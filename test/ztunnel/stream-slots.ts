// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { WaypointView } from '../../mesh/model/destination.ts'
import { describeDestination } from '../../mesh/model/destination.ts'
import { MAX_COUNTED_INSTANCES, StreamCounts } from '../../ztunnel/carry/stream-counts.ts'
import { StreamSlots } from '../../ztunnel/stream-slots.ts'
import { meshOf, workload } from '../support/mesh.ts'

/** A waypoint of these instances. */
function waypointsOf(uids: readonly string[]): readonly WaypointView[] {
  const mesh = meshOf(`
workloads:
- ${workload('client', '10.0.0.1')}
- ${workload('wp', '10.0.0.2', 'services: {"shop/wp.shop": {}}')}
services:
- {name: wp, namespace: shop, hostname: wp.shop, vips: [], ports: {15008: 15008}}
- {name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 80},
   waypoint: {destination: shop/wp.shop, hboneMtlsPort: 15008}}
`)
  const source = mesh.workloadByIp('', '10.0.0.1')
  if (source === undefined) throw new Error('no source')
  const [found] = describeDestination(mesh, source, '', '10.9.0.1', 80).waypoints
  const candidate = found?.candidates[0]
  if (found === undefined || candidate === undefined) throw new Error('no waypoint')
  return [{ ...found, candidates: uids.map((uid) => ({ ...candidate, uid })) }]
}

class Slots {
  readonly told: Record<string, number>[] = []
  readonly known = new Set<string>()
  readonly slots = new StreamSlots({
    workers: 1,
    tell: (slots) => this.told.push(Object.fromEntries(slots)),
    isKnown: (uid) => this.known.has(uid),
  })
}

t.test('an instance gets a slot once, and every worker is told of it before it is used', async (t) => {
  const { slots, told } = new Slots()
  slots.prepare(waypointsOf(['a', 'b']))
  slots.prepare(waypointsOf(['b', 'c', 'a']))
  slots.prepare([])
  t.same(told, [{ a: 0, b: 1 }, { c: 2 }])
  t.same(Object.fromEntries(slots.all), { a: 0, b: 1, c: 2 })
})

t.test('slots of instances that are gone are given on, once nobody has a stream to them', async (t) => {
  const lab = new Slots()
  const uids = Array.from({ length: MAX_COUNTED_INSTANCES }, (_, index) => `w${index}`)
  lab.slots.prepare(waypointsOf(uids))
  const counts = new StreamCounts(lab.slots.memory, 0, 1)
  counts.learn(lab.slots.all)
  for (const uid of uids.slice(2)) lab.known.add(uid)
  const slot = counts.opened('w0')
  lab.slots.prepare(waypointsOf(['x']))
  t.same(lab.told.at(-1), { x: 1 }, 'of w1: w0 has a stream, the others are of the mesh')
  lab.known.add('x')
  lab.slots.prepare(waypointsOf(['y']))
  t.equal(lab.slots.all.has('y'), false, 'there is none left')
  counts.closed(slot)
  lab.slots.prepare(waypointsOf(['y']))
  t.same(lab.told.at(-1), { y: 0 })
  t.notOk(lab.slots.all.has('w0'))
})
