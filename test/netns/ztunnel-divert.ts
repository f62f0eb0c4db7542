// SPDX-License-Identifier: Apache-2.0
// Nobody goes round a waypoint: who dials a pod behind one, in plain text or by a tunnel, is diverted to it by the pod's own
// node. The waypoint is a stand-in that checks what it is told.
import t, { type Test } from 'tap'
import { WAYPOINT_GRACE_MS } from '../../ztunnel/carry/limits.ts'
import { testStreams } from '../support/istio-lab.ts'
import { type LabPod, type LabRecord, type MeshLab, poll } from '../support/mesh-lab.ts'
import {
  END_HEADERS,
  FRAME_TYPE,
  frame,
  literals,
  PREFACE,
  TunnelAttacker,
} from '../support/tunnel-attacker.ts'
import {
  CART_IP,
  CART_VIP,
  identity,
  startWaypointLab,
  WAYPOINT_HOST,
  type WaypointLab,
  waypointMesh,
} from '../support/waypoint-lab.ts'

const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n'
const STRICT =
  '- {name: istio_converted_static_strict, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{notPrincipals: [!Presence []]}]]]}\n'

/** What came of one request. */
async function call(lab: MeshLab, from: LabPod, ip: string, port: number): Promise<string> {
  const socket = lab.connect(from, ip, port)
  socket.write(REQUEST)
  await socket.until('an answer or an end', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.destroy()
  return socket.text.split('\r\n').at(-1) || socket.error || 'closed'
}

/** The records of cart's node since `known`, once there are `count`. */
async function recordsAt(lab: MeshLab, known: number, count: number): Promise<LabRecord[]> {
  return await poll('records', async () => {
    const records = (await lab.records('n2')).slice(known)
    return records.length >= count ? records : null
  })
}

async function testCallers(t: Test, { lab, startWaypoint }: WaypointLab): Promise<void> {
  const waypoint = await startWaypoint()
  const WAYPOINT_SEEN = 'client 10.1.0.3' // whom the application sees

  await t.test('a pod of the mesh that calls the service goes there once', async (t) => {
    t.equal(await call(lab, 'front', CART_VIP, 80), WAYPOINT_SEEN)
    t.match(waypoint.seen, [
      {
        authority: `${CART_VIP}:80`,
        peer: identity('front'),
        header: '',
        caller: identity('front'),
        answer: 'OK',
      },
    ])
    t.equal(waypoint.seen.length, 1)
    const [record, ...others] = await recordsAt(lab, 0, 1)
    t.match(record, { reason: 'OK', 'src.identity': identity('wp'), 'dst.addr': `${CART_IP}:8080` })
    t.notOk('diverted_to' in (record ?? {}), 'what comes from the waypoint is let in')
    t.equal(others.length, 0)
  })

  const rows = [
    ['a pod of the mesh', 'front', '10.1.0.1', identity('front'), 'HBONE'],
    ['a plain pod', 'batch', '10.1.0.2', '', 'TCP'],
  ] as const
  for (const [name, pod, ip, caller, transport] of rows)
    await t.test(`${name} that calls the pod is diverted, and its caller stated`, async (t) => {
      const [known, seen] = [(await lab.records('n2')).length, waypoint.seen.length]
      t.equal(await call(lab, pod, CART_IP, 8080), WAYPOINT_SEEN)
      const told = waypoint.seen.slice(seen)
      t.equal(told.length, 1, 'once')
      t.match(told[0], {
        ...{ authority: `${CART_IP}:8080`, peer: identity('cart'), caller, answer: 'OK' },
        header: caller || 'unknown',
        forwarded: new RegExp(`^for="${ip}:`),
        baggage: /service\.name|k8s\.namespace\.name=shop/,
      })
      const records = await recordsAt(lab, known, 2)
      const diverted = records.find((record) => 'diverted_to' in record)
      t.match(diverted, {
        ...{ reason: 'OK', direction: 'inbound', transport, diverted_to: 'shop/wp-0' },
        'dst.addr': `${CART_IP}:8080`,
      })
      t.equal(diverted?.['src.identity'] ?? '', caller)
      const direct = records.find((record) => !('diverted_to' in record))
      t.match(direct, { reason: 'OK', 'src.identity': identity('wp'), 'dst.addr': `${CART_IP}:8080` })
    })

  for (const pod of ['front', 'batch'] as const)
    await t.test(`streams of ${pod} are whole through the diversion`, (t) =>
      testStreams(t, lab, pod, CART_IP),
    )
  await waypoint.stop()
}

async function testAuthority(t: Test, { lab, startWaypoint }: WaypointLab): Promise<void> {
  await t.test('the waypoint decides on the caller, not on who diverted', async (t) => {
    const waypoint = await startWaypoint({ denied: [identity('front')] })
    const known = (await lab.records('n2')).length
    t.notMatch(await call(lab, 'front', CART_IP, 8080), /client/)
    t.match(waypoint.seen, [{ caller: identity('front'), answer: 'POLICY_DENY' }])
    const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'POLICY_DENY')
    t.match(record, { diverted_to: 'shop/wp-0', detail: /^the waypoint shop\/wp-0: / })
    t.match(await call(lab, 'batch', CART_IP, 8080), /client/, 'others are served')
    await waypoint.stop()
  })

  await t.test('who is not behind the waypoint cannot state a caller', async (t) => {
    const waypoint = await startWaypoint({ behind: { [CART_IP]: identity('somebody-else') } })
    t.notMatch(await call(lab, 'batch', CART_IP, 8080), /client/)
    t.match(waypoint.seen, [{ peer: identity('cart'), caller: null, answer: 'POLICY_DENY' }])
    await waypoint.stop()
  })
}

async function testLoops(t: Test, { lab, startWaypoint, certificateOf }: WaypointLab): Promise<void> {
  await t.test('what comes back from the waypoint without its identity is refused', async (t) => {
    const waypoint = await startWaypoint({ client: await certificateOf('other') })
    const known = (await lab.records('n2')).length
    t.notMatch(await call(lab, 'batch', CART_IP, 8080), /client/)
    t.equal(waypoint.seen.length, 1, 'it was there once')
    const loops = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'LOOP')
    t.equal(loops.length, 1)
    t.match(loops[0], { 'src.identity': identity('other'), detail: /^diverted before/ })
    await waypoint.stop()
  })

  await t.test('a peer that says it was diverted is refused, wherever it is', async (t) => {
    const known = (await lab.records('n2')).length
    const raw = lab.connect('batch', CART_IP, 15_008)
    await raw.until('connected', ({ isConnected }) => isConnected)
    const peer = new TunnelAttacker(raw, await certificateOf('front'))
    await poll('secure', () => peer.isSecure || null)
    const headers = {
      ':method': 'CONNECT',
      ':authority': `${CART_IP}:8080`,
      'x-sidestep-diverted-for': identity('wp'),
    }
    peer.tls.write(PREFACE)
    peer.tls.write(frame(FRAME_TYPE.SETTINGS, 0, 0, Buffer.alloc(0)))
    peer.tls.write(frame(FRAME_TYPE.HEADERS, END_HEADERS, 1, literals(headers)))
    const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'LOOP')
    t.match(record, { 'src.identity': identity('front') })
    peer.destroy()
  })

  await t.test('who comes from the waypoint’s address without its identity is refused', async (t) => {
    const known = (await lab.records('n2')).length
    t.notMatch(await call(lab, 'stranger', CART_IP, 8080), /client/)
    const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'LOOP')
    t.match(record, { transport: 'TCP', detail: /the waypoint's address 10\.1\.0\.3/ })
  })
}

async function testAbsence(t: Test, { lab }: WaypointLab): Promise<void> {
  const refusedAs = async (reason: string, pod: LabPod = 'batch'): Promise<LabRecord> => {
    const known = (await lab.records('n2')).length
    return await poll(reason, async () => {
      if ((await call(lab, pod, CART_IP, 8080)).startsWith('client')) throw new Error('round the waypoint')
      return (await lab.records('n2')).slice(known).find((record) => record.reason === reason) ?? null
    })
  }
  await t.test('a waypoint that does not run is named', async (t) => {
    t.match(await refusedAs('WAYPOINT_UNREACHABLE'), {
      diverted_to: 'shop/wp-0',
      detail: /^shop\/wp-0: HBONE_PORT_REFUSED/,
    })
    t.match(await refusedAs('WAYPOINT_UNREACHABLE', 'front'), { 'src.identity': identity('front') })
  })
  await t.test('a waypoint without a pod that is well, and one that is not there', async (t) => {
    await lab.configure(waypointMesh().replace(/(uid: wp-0,)/, '$1 status: Unhealthy,'))
    t.match(await refusedAs('WAYPOINT_NOT_READY'), { detail: new RegExp(`shop/${WAYPOINT_HOST}`) })
    await lab.configure(
      waypointMesh().replaceAll(`destination: shop/${WAYPOINT_HOST}`, 'destination: shop/gone'),
    )
    t.match(await refusedAs('WAYPOINT_MISSING'), { detail: 'shop/gone' })
  })
  await t.test('a pod that is strict refuses plain text, and diverts nothing of it', async (t) => {
    await lab.configure(waypointMesh(STRICT))
    t.match(await refusedAs('PLAINTEXT_REFUSED'), { transport: 'TCP' })
    await lab.configure(waypointMesh())
    await refusedAs('WAYPOINT_UNREACHABLE')
  })
}

async function testLiveConnections(t: Test, { lab, startWaypoint }: WaypointLab): Promise<void> {
  const open = async (pod: LabPod) => {
    const socket = lab.connect(pod, CART_IP, 9001)
    await socket.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
    return socket
  }
  /** Nobody is asked again for a while who has just not answered: a waypoint that comes up is found a moment later. */
  const openServed = (pod: 'front' | 'batch'): ReturnType<typeof open> =>
    poll(`${pod} is greeted`, async () => {
      const socket = await open(pod)
      return socket.text === '' ? null : socket
    })
  const isGreeted = async (): Promise<true | null> => {
    const socket = await open('batch')
    socket.destroy()
    return socket.text === '' ? null : true
  }
  const without = waypointMesh().replace(/ authorizationPolicies: \[.*?\],/, '')

  await t.test(
    'what went straight to the pod may end by itself when a waypoint comes before it, then is cut',
    async (t) => {
      await lab.configure(without)
      await poll('nothing stands before it', isGreeted)
      const sockets = await Promise.all([open('front'), open('batch')])
      const known = (await lab.records('n2')).length
      await lab.configure(waypointMesh())
      for (const socket of sockets) await socket.until('the end', ({ isClosed }) => isClosed)
      const cut = await poll('both records', async () => {
        const records = (await lab.records('n2')).slice(known)
        const found = records.filter(({ reason }) => reason === 'POLICY_CHANGED')
        return found.length === 2 ? found : null
      })
      for (const record of cut) {
        t.match(record, { detail: `only through the waypoint shop/${WAYPOINT_HOST}` })
        t.ok(Number(record.duration_ms) >= WAYPOINT_GRACE_MS, 'it had time')
      }
    },
  )

  await t.test(
    'what was diverted goes on without a waypoint, and is cut when it is another one',
    async (t) => {
      const waypoint = await startWaypoint()
      const sockets = await Promise.all([openServed('front'), openServed('batch')])
      await lab.configure(without)
      const isDirect = async (): Promise<true | null> => {
        const seen = waypoint.seen.length
        const socket = await open('batch')
        socket.destroy()
        return waypoint.seen.length === seen || null
      }
      await poll('nobody is diverted any more', isDirect)
      for (const socket of sockets) {
        socket.write('still there')
        await socket.until('the echo', ({ text, isClosed }) => text.endsWith('still there') || isClosed)
        t.match(socket.text, /still there$/)
      }
      await lab.configure(waypointMesh().replaceAll(WAYPOINT_HOST, 'new.shop.svc.cluster.local'))
      for (const socket of sockets) await socket.until('the end', ({ isClosed }) => isClosed)
      t.pass('both ended')
      await waypoint.stop()
    },
  )
}

t.setTimeout(300_000)
t.test('a pod behind a waypoint', { timeout: 280_000 }, async (t) => {
  const waypoints = await startWaypointLab(t)
  await testCallers(t, waypoints)
  await testAuthority(t, waypoints)
  await testLoops(t, waypoints)
  await testAbsence(t, waypoints)
  await testLiveConnections(t, waypoints)
})
