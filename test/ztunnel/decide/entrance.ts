// SPDX-License-Identifier: Apache-2.0
// The rows of decision 11: who is let in, who is diverted and where, who is refused; and what becomes of what is open.
import fc from 'fast-check'
import t from 'tap'
import { isRefusal, refuse } from '../../../mesh/errors/refusal.ts'
import { formatSpiffeId } from '../../../mesh/identity/spiffe.ts'
import type { WaypointView } from '../../../mesh/model/destination.ts'
import type { WaypointGuard, WaypointWay } from '../../../mesh/model/waypoint-guard.ts'
import {
  type Arrival,
  type Detour,
  decideEntrance,
  detourRefusal,
  type Entrance,
  recheckEntrance,
  waypointNames,
} from '../../../ztunnel/decide/entrance.ts'

const account = (serviceAccount: string) => ({
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount,
})
const waypoint = (name: string): WaypointView => ({
  ...{ uid: `shop/${name}`, rank: 0, capacity: 1, refusal: null },
  candidates: [
    {
      ...{ uid: `${name}-0`, rank: 0, capacity: 1, protocol: 'HBONE', authority: '10.0.0.1:0' },
      dial: { ip: '10.0.1.1', port: 15_008 },
      inner: null,
      expectedIdentities: [formatSpiffeId(account(name))],
      workload: {
        ...{ uid: `${name}-0`, name: `${name}-0`, namespace: 'shop', serviceAccount: name, clusterId: '' },
        ...{ identity: formatSpiffeId(account(name)), workloadName: '', workloadType: '' },
        ...{ canonicalName: '', canonicalRevision: '', region: '', zone: '' },
      },
    },
  ],
})
const wayOf = (service: string | null, ports: readonly number[], name: string): WaypointWay => ({
  service: service === null ? null : { name: service, namespace: 'shop', hostname: `${service}.shop` },
  ports,
  waypoints: [waypoint(name)],
})
const guardOf = (ways: readonly WaypointWay[], names = ['wp']): WaypointGuard => ({
  identities: names.map((name) => formatSpiffeId(account(name))),
  addresses: ['10.0.1.1'],
  ways,
})
const GUARD = guardOf([wayOf('a', [8080], 'wp'), wayOf('b', [9090], 'wp-b')], ['wp', 'wp-b'])
const FRONT: Arrival = {
  ...{ identity: account('front'), sourceIp: '10.0.0.7', ip: '10.0.0.1', port: 8080, isDiverted: false },
}

/** In words. */
function told(entrance: Entrance | ReturnType<typeof decideEntrance>): string {
  if (isRefusal(entrance)) return entrance.code
  if (entrance.kind === 'direct') return entrance.isFromWaypoint ? 'from a waypoint' : 'open'
  const { waypoints } = entrance.view
  return `to ${waypoints.map(({ uid }) => uid).join()} for ${entrance.divertedFor}`
}
const CALLER = 'spiffe://cluster.local/ns/shop/sa/front'

const ROWS: readonly (readonly [string, WaypointGuard | null, Partial<Arrival>, string])[] = [
  ['nothing stands before the pod', null, {}, 'open'],
  ['nothing does, and it was diverted before', null, { isDiverted: true }, 'open'],
  ['a pod of the mesh', GUARD, {}, `to shop/wp for ${CALLER}`],
  ['plain text', GUARD, { identity: null }, 'to shop/wp for unknown'],
  ['the waypoint', GUARD, { identity: account('wp'), sourceIp: '10.0.1.1' }, 'from a waypoint'],
  ['the waypoint brings back', GUARD, { identity: account('wp'), isDiverted: true }, 'from a waypoint'],
  ['the waypoint of another service of the pod', GUARD, { identity: account('wp-b') }, 'from a waypoint'],
  [
    'the same account elsewhere',
    GUARD,
    { identity: { ...account('wp'), namespace: 'bad' } },
    'to shop/wp for spiffe://cluster.local/ns/bad/sa/wp',
  ],
  [
    'another trust domain',
    GUARD,
    { identity: { ...account('wp'), trustDomain: 'bad' } },
    'to shop/wp for spiffe://bad/ns/shop/sa/wp',
  ],
  ['a port of the other service', GUARD, { port: 9090 }, `to shop/wp-b for ${CALLER}`],
  ['a port of no service', GUARD, { port: 1 }, `to shop/wp for ${CALLER}`],
  [
    'the pod has its own',
    guardOf([wayOf(null, [], 'own'), wayOf('b', [9090], 'wp')]),
    { port: 9090 },
    `to shop/own for ${CALLER}`,
  ],
  ['diverted before', GUARD, { isDiverted: true }, 'LOOP'],
  ['diverted before, plain', GUARD, { isDiverted: true, identity: null }, 'LOOP'],
  ['the waypoint’s address in plain text', GUARD, { identity: null, sourceIp: '10.0.1.1' }, 'LOOP'],
  ['the waypoint’s address as somebody else', GUARD, { sourceIp: '10.0.1.1' }, 'LOOP'],
  ['a waypoint that nobody knows yet', guardOf([], []), {}, 'WAYPOINT_MISSING'],
]

t.test('who comes in how', async (t) => {
  for (const [name, guard, changes, expected] of ROWS)
    t.equal(told(decideEntrance(guard, { ...FRONT, ...changes })), expected, name)
})

t.test('a detour asks the waypoint for the pod and its port, and may end nowhere else', async (t) => {
  const detour = decideEntrance(GUARD, { ...FRONT, ip: 'fd00::1' })
  t.match(detour, {
    kind: 'detour',
    view: { kind: 'workload', ip: 'fd00::1', port: 8080, refusal: null, service: null },
  })
  const { view } = detour as Detour // as: matched above
  t.same(view.candidates, [])
  t.same(
    view.waypoints.flatMap(({ candidates }) => candidates.map(({ authority }) => authority)),
    ['[fd00::1]:8080'],
  )
})

const direct: Entrance = { kind: 'direct', isFromWaypoint: false }
const fromWaypoint: Entrance = { kind: 'direct', isFromWaypoint: true }
const diverted = decideEntrance(GUARD, FRONT) as Entrance // as: a row above
const other = guardOf([wayOf('a', [8080], 'new')], ['new'])
const gone: WaypointGuard = { ...GUARD, identities: [] }

const CHANGES: readonly (readonly [string, Entrance, WaypointGuard | null, Partial<Arrival>, string])[] = [
  ['open, and still nothing before the pod', direct, null, {}, 'goes on'],
  ['open, and now a waypoint', direct, GUARD, {}, 'POLICY_CHANGED'],
  ['open in plain text, and now a waypoint', direct, GUARD, { identity: null }, 'POLICY_CHANGED'],
  ['open, from what is a waypoint now', direct, GUARD, { identity: account('wp') }, 'goes on'],
  ['open, and a waypoint without pods', direct, gone, {}, 'POLICY_CHANGED'],
  ['from the waypoint, and nothing changed', fromWaypoint, GUARD, { identity: account('wp') }, 'goes on'],
  ['from the waypoint, which is none any more', fromWaypoint, null, { identity: account('wp') }, 'goes on'],
  ['from the waypoint, whose pods are gone', fromWaypoint, gone, { identity: account('wp') }, 'goes on'],
  [
    'from the waypoint, and now it is another',
    fromWaypoint,
    other,
    { identity: account('wp') },
    'POLICY_CHANGED',
  ],
  ['diverted, and nothing changed', diverted, GUARD, {}, 'goes on'],
  ['diverted, and there is no waypoint any more', diverted, null, {}, 'goes on'],
  ['diverted, and its pods are gone', diverted, gone, {}, 'goes on'],
  ['diverted, and now it is another', diverted, other, {}, 'POLICY_CHANGED'],
  ['diverted, and nobody knows where to', diverted, guardOf([], []), {}, 'POLICY_CHANGED'],
]

t.test('what becomes of a connection when what stands before the pod changes', async (t) => {
  for (const [name, was, guard, changes, expected] of CHANGES) {
    const refusal = recheckEntrance(guard, { ...FRONT, ...changes }, was)
    t.equal(refusal?.code ?? 'goes on', expected, name)
  }
  t.match(recheckEntrance(GUARD, FRONT, direct)?.detail, 'only through the waypoint shop/wp or shop/wp-b')
  t.equal(waypointNames(guardOf([])), 'a waypoint')
})

t.test('a detour that fails says whether it was the waypoint', async (t) => {
  const rows = [
    ['HBONE_PORT_REFUSED', 'WAYPOINT_UNREACHABLE', 'shop/wp-0: HBONE_PORT_REFUSED why'],
    ['IDENTITY_MISMATCH', 'WAYPOINT_UNREACHABLE', 'shop/wp-0: IDENTITY_MISMATCH why'],
    ['ENDPOINT_REFUSED', 'ENDPOINT_REFUSED', 'the waypoint shop/wp-0: why'],
    ['POLICY_DENY', 'POLICY_DENY', 'the waypoint shop/wp-0: why'],
  ] as const
  for (const [code, told, detail] of rows)
    t.match(detourRefusal(refuse(code, 'why'), 'shop/wp-0'), { code: told, detail })
  t.match(detourRefusal(refuse('WAYPOINT_MISSING', 'why'), ''), { code: 'WAYPOINT_MISSING', detail: 'why' })
})

t.test('nobody but a waypoint comes straight to a pod behind one, whoever it is', async (t) => {
  const names = ['wp', 'wp-b', 'front', 'batch']
  const arrivals: fc.Arbitrary<Arrival> = fc.record({
    identity: fc.option(fc.constantFrom(...names).map(account)),
    sourceIp: fc.constantFrom('10.0.0.7', '10.0.1.1'),
    ip: fc.constant('10.0.0.1'),
    port: fc.constantFrom(8080, 9090, 1),
    isDiverted: fc.boolean(),
  })
  const ways = fc.subarray([wayOf(null, [], 'wp'), wayOf('a', [8080], 'wp'), wayOf('b', [9090], 'wp-b')])
  const guards = fc
    .tuple(ways, fc.subarray(['wp', 'wp-b']))
    .map(([own, identities]) => guardOf(own, identities))
  const seen = new Set<string>()
  fc.assert(
    fc.property(guards, arrivals, (guard, arrival) => {
      const entrance = decideEntrance(guard, arrival)
      const isWaypoint =
        arrival.identity !== null && guard.identities.includes(formatSpiffeId(arrival.identity))
      if (isRefusal(entrance)) {
        seen.add(entrance.code)
        return !isWaypoint
      }
      seen.add(entrance.kind)
      // What is decided is still right when nothing has changed.
      if (recheckEntrance(guard, arrival, entrance) !== null) return false
      if (entrance.kind === 'direct') return isWaypoint
      // Only what was never diverted is, so that it is diverted once.
      return !isWaypoint && !arrival.isDiverted && entrance.view.waypoints.length > 0
    }),
    { numRuns: 2000, seed: 11 },
  )
  t.same([...seen].toSorted(), ['LOOP', 'WAYPOINT_MISSING', 'detour', 'direct'])
})
