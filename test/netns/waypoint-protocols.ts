// SPDX-License-Identifier: Apache-2.0
// Everything that is spoken through a waypoint: HTTP/2, gRPC, a protocol that HTTP/1.1 changes to, and bytes of a server that
// speaks first. And services that break off in each phase of an answer.
import t, { type Test } from 'tap'
import { poll } from '../support/mesh-lab.ts'
import { RPC_PEER, SERVICES, WaypointMesh } from '../support/waypoint-mesh.ts'

type Check = (t: Test, mesh: WaypointMesh) => Promise<void>

const GREETER_VIP = '10.96.0.61'
/** A port that says nothing about itself. */
const GREETER =
  '{apiVersion: v1, kind: Service, metadata: {name: greeter, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, ' +
  `spec: {selector: {app: cart}, clusterIP: ${GREETER_VIP}, clusterIPs: [${GREETER_VIP}], ` +
  'ports: [{name: greeter, port: 91, targetPort: 9001}]}}'

/** Answers of a service that breaks, and what its caller gets. */
const BROKEN: readonly (readonly [what: string, answer: string, status: number, reason: string])[] = [
  ['nothing', '', 502, 'PEER_RESET'],
  ['half a head', 'HTTP/1.1 200 OK\r\nconten', 502, 'PEER_RESET'],
  ['what is no HTTP', 'SSH-2.0-x\r\n\r\n', 502, 'UPSTREAM_PROTOCOL'],
  [
    'two lengths',
    'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx',
    502,
    'UPSTREAM_PROTOCOL',
  ],
]

const CHECKS: Readonly<Record<string, Check>> = {
  'HTTP/2 with prior knowledge, to a service of HTTP/1.1': async (t, mesh) => {
    const text = await mesh.run(
      ...(['front', 'curl', '-s', '--http2-prior-knowledge', '-d', 'body'] as const),
      `http://${SERVICES.web.vip}/h2`,
    )
    t.match(JSON.parse(text), { service: 'v1', method: 'POST', url: '/h2', body: 'body' })
  },

  'gRPC: an answer, a status, a stream both ways': async (t, mesh) => {
    await mesh.startRpc()
    const text = await mesh.run(
      ...(['front', process.execPath, '--no-warnings', RPC_PEER, 'client'] as const),
      `${SERVICES.rpc.vip}:80`,
    )
    t.same(JSON.parse(text), { answer: 'hello for 10.1.0.1', failure: '5 no such thing', chat: 100 })
    await mesh.stopService('rpc')
    const down = await mesh.run(
      ...(['front', process.execPath, '--no-warnings', RPC_PEER, 'client'] as const),
      `${SERVICES.rpc.vip}:80`,
    )
    const refused = { answer: /^14 ENDPOINT_REFUSED: /, failure: /^14 /, chat: -1 }
    t.match(JSON.parse(down), refused, 'a status of gRPC, with the reason')
  },

  'another protocol after HTTP/1.1': async (t, mesh) => {
    const socket = mesh.lab.connect('front', SERVICES.web.vip, 80)
    socket.write('GET /ws HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    await socket.until('the change', ({ text }) => text.includes('\r\n\r\n'))
    t.match(socket.text, /^HTTP\/1\.1 101 /)
    socket.write('ping of bytes')
    await socket.until('the echo', ({ text }) => text.endsWith('ping of bytes'))
    socket.destroy()
  },

  'a server that speaks first': async (t, mesh) => {
    const startedMs = performance.now()
    const socket = mesh.lab.connect('front', GREETER_VIP, 91)
    await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    t.equal(socket.text, '220 cart\r\n')
    t.comment(`greeted after ${Math.round(performance.now() - startedMs)} ms`)
    socket.destroy()
    const record = await poll('its record, at the waypoint', async () => {
      const records = await mesh.records()
      return records.find((each) => each['dst.authority'] === `${GREETER_VIP}:91`) ?? null
    })
    t.match(record, { protocol: 'tcp', bytes_received: 0, bytes_sent: 10, 'dst.addr': '10.2.0.1:9001' })
  },

  'pipelined requests are answered in their order': async (t, mesh) => {
    const socket = mesh.lab.connect('front', SERVICES.web.vip, 80)
    for (const path of ['/one?delay=200', '/two', '/three'])
      socket.write(`GET ${path} HTTP/1.1\r\nhost: web\r\n\r\n`)
    await socket.until('three answers', ({ text }) => text.includes('"/three"'))
    const order = [...socket.text.matchAll(/"url":"\/(\w+)/g)].map(([, name]) => name)
    t.same(order, ['one', 'two', 'three'])
    socket.destroy()
  },

  'a service that breaks off is told as such, and costs nobody else': async (t, mesh) => {
    await mesh.stopService('v1')
    for (const [what, answer, status, reason] of BROKEN) {
      await mesh.startBreaking(answer)
      const got = await mesh.call('front', 'POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 1\r\n\r\nx')
      t.match([got.status, got.headers['x-sidestep-reason']], [status, reason], what)
      await mesh.stopService('breaking')
    }
    await mesh.startBreaking('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf')
    const cut = mesh.lab.connect('front', SERVICES.web.vip, 80)
    cut.write('GET / HTTP/1.1\r\nhost: web\r\n\r\n')
    await cut.until('the end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    t.notMatch(cut.text, /half.{6}/, 'half an answer is never a whole one')
    await mesh.stopService('breaking')
    await mesh.startService('v1')
    t.equal((await mesh.get('front', '/')).status, 200)
  },

  'a caller that is slow with its head, and one that leaves, cost nobody else': async (t, mesh) => {
    const slow = mesh.lab.connect('front', SERVICES.web.vip, 80)
    slow.write('GET / HTTP/1.1\r\nho')
    const leaving = mesh.lab.connect('front', SERVICES.web.vip, 80)
    leaving.write('GET /?delay=5000 HTTP/1.1\r\nhost: web\r\n\r\n')
    await poll('the request under way', async () => {
      const { body } = await mesh.admin('/status')
      const { workers } = JSON.parse(body) as { workers: readonly { exchanges: number }[] } // as: the route's answer
      return workers.some(({ exchanges }) => exchanges > 0) || null
    })
    leaving.destroy()
    t.equal((await mesh.get('front', '/')).status, 200)
    await poll('nothing under way', async () => {
      const { body } = await mesh.admin('/status')
      const { workers } = JSON.parse(body) as { workers: readonly { exchanges: number }[] } // as: the route's answer
      return workers.every(({ exchanges }) => exchanges === 0) || null
    })
    slow.destroy()
  },
}

t.setTimeout(240_000)
t.test('a waypoint', { timeout: 210_000 }, async (t) => {
  const mesh = await WaypointMesh.start(t, GREETER)
  for (const [name, check] of Object.entries(CHECKS)) await t.test(name, (t) => check(t, mesh))
})
