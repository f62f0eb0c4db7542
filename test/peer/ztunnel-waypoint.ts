// SPDX-License-Identifier: Apache-2.0
// Istio's ztunnel as source, ours as destination, a waypoint between them: a stand-in. Calls of the service go there by
// themselves, calls of the pod are diverted by our node, which Istio's never hears of. Needs ZTUNNEL_BIN and root.
import t, { type Test } from 'tap'
import {
  CART_IP,
  CART_VIP,
  echoes,
  greeted,
  type IstioLab,
  identity,
  isOver,
  ONE_TEST,
  PEER_IP,
  startIstioLab,
  testStreams,
} from '../support/istio-lab.ts'
import { behindWaypoint, type Waypoints, waypointsOf } from '../support/waypoint-lab.ts'

/** Of the pod batch, which is of no mesh here. */
const WAYPOINT_IP = '10.1.0.2'

async function testHop(t: Test, { lab, istio }: IstioLab, { startWaypoint }: Waypoints): Promise<void> {
  const waypoint = await startWaypoint()
  await t.test('a call of the service goes through the waypoint', ONE_TEST, async (t) => {
    const known = { theirs: istio.records.length, ours: (await lab.records('n2')).length }
    const socket = await greeted(lab, 'stranger', CART_VIP, 91)
    t.ok(await echoes(socket, 'hello'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    t.match(waypoint.seen, [
      {
        ...{ authority: `${CART_VIP}:91`, peer: identity('peer'), caller: identity('peer'), header: '' },
        forwarded: new RegExp(`^for="${PEER_IP}:\\d+";host=cart\\.shop`),
      },
    ])
    t.equal(waypoint.seen.length, 1)
    const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'outbound')
    t.match(theirs, { 'dst.addr': `${WAYPOINT_IP}:15008`, 'dst.hbone_addr': `${CART_VIP}:91` })
    const [ours] = await lab.recordsAfter('n2', known.ours, () => true)
    t.match(ours, { reason: 'OK', 'src.identity': identity('wp'), 'dst.hbone_addr': `${CART_IP}:9001` })
    t.notOk('diverted_to' in (ours ?? {}))
  })

  await t.test('a call of the pod is diverted, and its caller stated', ONE_TEST, async (t) => {
    const known = (await lab.records('n2')).length
    const seen = waypoint.seen.length
    const socket = await greeted(lab, 'stranger', CART_IP)
    t.ok(await echoes(socket, 'hello'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    t.match(waypoint.seen.slice(seen), [
      {
        ...{ authority: `${CART_IP}:9001`, peer: identity('cart') },
        ...{ header: identity('peer'), caller: identity('peer') },
      },
    ])
    const [diverted] = await lab.recordsAfter('n2', known, (record) => 'diverted_to' in record)
    t.match(diverted, {
      reason: 'OK',
      'src.identity': identity('peer'),
      diverted_to: 'shop/wp-0',
      bytes_recv: 5,
    })
  })

  await t.test('streams are whole through the diversion', (t) => testStreams(t, lab, 'stranger', CART_IP))
  await waypoint.stop()
}

async function testRefusals(t: Test, { lab, istio }: IstioLab, { startWaypoint }: Waypoints): Promise<void> {
  const refused = async (ip: string, port: number): Promise<string> => {
    const known = istio.records.length
    const socket = lab.connect('stranger', ip, port)
    await socket.until('the end', isOver)
    if (socket.text !== '') throw new Error(`answered: ${socket.text}`)
    const { error = '' } = await istio.recordAfter(known, ({ direction }) => direction === 'outbound')
    return error
  }
  await t.test('what the waypoint denies is denied on both ways', ONE_TEST, async (t) => {
    const waypoint = await startWaypoint({ denied: [identity('peer')] })
    t.match(await refused(CART_VIP, 91), /401/)
    t.match(await refused(CART_IP, 9001), /401/)
    t.same(
      waypoint.seen.map(({ caller, answer }) => [caller, answer]),
      [
        [identity('peer'), 'POLICY_DENY'],
        [identity('peer'), 'POLICY_DENY'],
      ],
    )
    await waypoint.stop()
  })
  await t.test('without the waypoint nobody comes to the pod', ONE_TEST, async (t) => {
    t.not(await refused(CART_VIP, 91), '')
    const known = (await lab.records('n2')).length
    t.match(await refused(CART_IP, 9001), /503/)
    const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'WAYPOINT_UNREACHABLE')
    t.match(record, { 'src.identity': identity('peer') })
  })
}

t.setTimeout(180_000)
t.test('a waypoint between Istio’s ztunnel and ours', { timeout: 150_000 }, async (t) => {
  const peers = await startIstioLab(t, (mesh) => behindWaypoint(mesh, WAYPOINT_IP), ['front'])
  const waypoints = await waypointsOf(t, peers.lab, 'batch', WAYPOINT_IP)
  await testHop(t, peers, waypoints)
  await testRefusals(t, peers, waypoints)
})
