// SPDX-License-Identifier: Apache-2.0
// Envoy as HBONE server for our ztunnel: a pod that terminates CONNECT over mTLS itself. Bytes both ways, every way
// of refusing, GOAWAY under a running stream, wrong identities on either side, death and return. In namespaces.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import {
  type ConnectAnswer,
  connectListener,
  Envoy,
  issueFiles,
  plainCluster,
  serverTls,
} from '../support/envoy.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabRecord, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const AGENT = fileURLToPath(new URL('../support/pod-agent.ts', import.meta.url))
const AWAY_IP = '10.1.0.3'
const AWAY_VIP = '10.96.0.11'
const HOST = 'away.shop.svc.cluster.local'
const HBONE_PORT = 15_008
const ONE_TEST = { timeout: 30_000 }
const MANY = 60
/** A limit of streams that our pool must meet with more tunnels. */
const FEW = 4
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
const REQUEST = 'GET / HTTP/1.1\r\nhost: away\r\n\r\n'

/** The lab's mesh and the pod whose HBONE end is Envoy: the lab's third pod of n1, which no ztunnel serves. */
const MESH = labMesh([])
  .replace(
    'workloads:\n',
    'workloads:\n- {uid: away, name: away, namespace: shop, serviceAccount: away, trustDomain: cluster.local, ' +
      `workloadIps: ["${AWAY_IP}"], protocol: HBONE, node: n9, services: {"shop/${HOST}": {80: 8080}}}\n`,
  )
  .replace(
    'services:\n- ',
    `services:\n- {name: away, namespace: shop, hostname: ${HOST}, vips: ["/${AWAY_VIP}"], ports: {80: 8080}}\n- `,
  )

/** How Envoy answers a port of the pod. 9404 has no route at all. */
const ANSWERS: Readonly<Record<number, ConnectAnswer>> = {
  8080: { cluster: 'http' },
  9000: { cluster: 'mirror' },
  9001: { cluster: 'greeter' },
  9999: { cluster: 'nobody' },
  9403: { status: 403 },
  9401: { status: 401 },
  9429: { status: 429 },
}

interface Peers {
  readonly lab: MeshLab
  readonly directory: string
}

/** Envoy with the certificate of `as`; it lets only front in. */
async function startEnvoy({ lab, directory }: Peers, as = 'away', maxStreams = 100): Promise<Envoy> {
  const files = await issueFiles(`${directory}/ca`, directory, as)
  const answers = Object.entries(ANSWERS).map(([port, answer]) => [`${AWAY_IP}:${port}`, answer] as const)
  const log = Envoy.logPath(directory)
  const tls = serverTls(files, identity('front'))
  const listener = connectListener(HBONE_PORT, tls, Object.fromEntries(answers), log, maxStreams)
  return await Envoy.start(
    lab.namespaceOf('stranger'),
    directory,
    [listener],
    [
      plainCluster('http', '127.0.0.1', 8080),
      plainCluster('mirror', '127.0.0.1', 9000),
      plainCluster('greeter', '127.0.0.1', 9001),
      plainCluster('nobody', '127.0.0.1', 9999),
    ],
  )
}

/** The application behind Envoy. */
async function startApplication(t: Test, lab: MeshLab): Promise<void> {
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', AGENT, 'serve'], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  const agent = lab.namespaceOf('stranger').run(start)
  t.teardown(() => {
    if (agent.connected) agent.disconnect()
  })
  await once(agent, 'message', { signal: AbortSignal.timeout(10_000) })
}

const isOver = ({ isClosed, hasEnded }: LabSocket): boolean => isClosed || hasEnded
const isOutbound = ({ direction }: LabRecord): boolean => direction === 'outbound'

/** The outbound record of what `act` does. */
async function recordOf({ lab }: Peers, act: () => Promise<void>): Promise<LabRecord> {
  const known = (await lab.records('n1')).length
  await act()
  const [record] = await lab.recordsAfter('n1', known, isOutbound)
  return record ?? {}
}

/** A connection that is not let through. */
async function refusal(t: Test, peers: Peers, pod: LabPod, port: number): Promise<LabRecord> {
  return await recordOf(peers, async () => {
    const socket = peers.lab.connect(pod, AWAY_IP, port)
    socket.write(REQUEST)
    await socket.until('refused', isOver)
    t.equal(socket.text, '')
    socket.destroy()
  })
}

/** A connection to the greeter that was greeted. */
async function greeted({ lab }: Peers): Promise<LabSocket> {
  const socket = lab.connect('front', AWAY_IP, 9001)
  await socket.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return socket
}

async function echoes(socket: LabSocket, text: string): Promise<boolean> {
  socket.write(text)
  await socket.until('the echo', (one) => one.text.endsWith(text) || one.isClosed)
  return socket.text.endsWith(text)
}

async function testBytes(t: Test, peers: Peers, envoy: Envoy): Promise<void> {
  const { lab } = peers
  for (const [how, ip, port] of [
    ['pod', AWAY_IP, 8080],
    ['service', AWAY_VIP, 80],
  ] as const) {
    await t.test(
      `by ${how} address, Envoy sees who calls and our record who answered`,
      ONE_TEST,
      async (t) => {
        const from = envoy.accessLines().length
        let text = ''
        const record = await recordOf(peers, async () => {
          const socket = lab.connect('front', ip, port)
          socket.write(REQUEST)
          await socket.until('an answer', (one) => one.text.includes('client '))
          text = socket.text
          socket.end()
          await socket.until('the end', ({ isClosed }) => isClosed)
        })
        t.match(text, /200 OK/)
        t.match(record, {
          reason: 'OK',
          transport: 'HBONE',
          'src.identity': identity('front'),
          'dst.identity': identity('away'),
          'dst.addr': `${AWAY_IP}:${HBONE_PORT}`,
          'dst.hbone_addr': `${AWAY_IP}:8080`,
          bytes_sent: REQUEST.length,
          bytes_recv: text.length,
        })
        const line = await envoy.accessLine(/:8080 /, from)
        t.match(line, `${AWAY_IP}:8080 200 ${identity('front')} `)
        t.match(line, '[k8s.namespace.name=shop,k8s.pod.name=front]', 'baggage')
        t.match(
          line,
          how === 'pod' ? /\[for="10\.1\.0\.1:\d+"\]/ : /\[for="10\.1\.0\.1:\d+";host=away\.shop\./,
        )
        t.match(line, /\[00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\]$/, 'traceparent')
      },
    )
  }

  await t.test('a client that has finished writing still gets the whole answer', ONE_TEST, async (t) => {
    const request = Array.from({ length: 150_000 }, (_, index) => `line ${index}\n`).join('')
    const socket = lab.connect('front', AWAY_IP, 9000)
    socket.write(request)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.ok(socket.hasEnded, 'ended in order')
    t.equal(socket.error, '')
    t.ok(socket.text === request, `${socket.text.length} bytes, each as sent`)
  })

  await t.test('megabytes flow both ways at once, and the server may speak first', ONE_TEST, async (t) => {
    const socket = await greeted(peers)
    const bulk = Array.from({ length: 250_000 }, (_, index) => `bulk ${index}\n`).join('')
    for (let at = 0; at < bulk.length; at += 500_000) socket.write(bulk.slice(at, at + 500_000))
    const expected = `220 cart\r\n${bulk}`
    await socket.until('the echo', ({ text, isClosed }) => text.length >= expected.length || isClosed)
    t.ok(socket.text === expected, `${socket.text.length} bytes, each as sent`)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
  })

  await t.test(`${MANY} connections at once share the tunnels of two workers`, ONE_TEST, async (t) => {
    const sockets = await Promise.all(Array.from({ length: MANY }, () => greeted(peers)))
    t.equal(await envoy.stat('http.hbone.downstream_rq_active'), MANY)
    const tunnels = await envoy.stat('http.hbone.downstream_cx_active')
    t.ok(tunnels >= 1 && tunnels <= 2, `${tunnels} tunnels`)
    t.same(
      await Promise.all(sockets.map((socket, index) => echoes(socket, `number ${index};`))),
      sockets.map(() => true),
    )
    for (const socket of sockets) socket.end()
    await Promise.all(sockets.map((socket) => socket.until('the end', ({ isClosed }) => isClosed)))
    t.equal(await envoy.stat('http.hbone.downstream_cx_http2_total'), tunnels, 'no other since the start')
    t.equal(await envoy.stat('http2.keepalive_timeout'), 0)
  })
}

async function testRefusals(t: Test, peers: Peers): Promise<void> {
  for (const [port, status, reason, detail] of [
    [9404, 404, 'TUNNEL_REFUSED', 'status 404'],
    [9403, 403, 'TUNNEL_REFUSED', 'status 403'],
    [9429, 429, 'TUNNEL_REFUSED', 'status 429'],
    [9999, 503, 'ENDPOINT_REFUSED', 'status 503'],
    [9401, 401, 'POLICY_DENY', '401'],
  ] as const) {
    await t.test(`status ${status} is recorded as ${reason}`, ONE_TEST, async (t) => {
      const record = await refusal(t, peers, 'front', port)
      t.match(record, { reason, transport: 'HBONE', bytes_sent: 0, bytes_recv: 0 })
      t.match(record.detail, detail)
    })
  }

  await t.test('an identity that Envoy does not accept gets no stream', ONE_TEST, async (t) => {
    const record = await refusal(t, peers, 'batch', 9001)
    t.match(record, {
      reason: 'TLS_HANDSHAKE',
      'src.identity': identity('batch'),
      bytes_recv: 0,
    })
  })
}

async function testGoaway(t: Test, peers: Peers, envoy: Envoy): Promise<void> {
  await t.test(
    'after GOAWAY the running stream goes on and new ones take a new tunnel',
    ONE_TEST,
    async (t) => {
      // Both workers' tunnels carry a stream.
      const running = await Promise.all(Array.from({ length: 8 }, () => greeted(peers)))
      const before = await envoy.stat('http.hbone.downstream_cx_total')
      await envoy.admin('POST', '/healthcheck/fail')
      // Envoy says GOAWAY with its next responses.
      const later = await Promise.all(Array.from({ length: 8 }, () => greeted(peers)))
      await poll('GOAWAY', async () => ((await envoy.stat('http2.goaway_sent')) > 0 ? true : null))
      await envoy.admin('POST', '/healthcheck/ok')
      for (const socket of [...running, ...later]) t.ok(await echoes(socket, 'still here'))
      await poll('a new tunnel', async () => {
        const socket = await greeted(peers)
        t.equal(socket.text, '220 cart\r\n')
        socket.destroy()
        return (await envoy.stat('http.hbone.downstream_cx_total')) > before || null
      })
      for (const socket of [...running, ...later]) t.ok(await echoes(socket, 'to the end'))
      for (const socket of [...running, ...later]) socket.end()
      await Promise.all([...running, ...later].map((socket) => socket.until('the end', isOver)))
      t.same(
        [...running, ...later].map(({ error }) => error).filter((error) => error !== ''),
        [],
      )
    },
  )
}

async function testDeath(t: Test, peers: Peers, envoy: Envoy): Promise<void> {
  const { lab } = peers
  await t.test(
    'when Envoy dies its streams end with a record, and connections fail with one',
    ONE_TEST,
    async (t) => {
      const known = (await lab.records('n1')).length
      const open = await Promise.all(Array.from({ length: 5 }, () => greeted(peers)))
      await envoy.kill()
      await Promise.all(open.map((socket) => socket.until('cut', isOver)))
      const records = await poll('records', async () => {
        const found = (await lab.records('n1')).slice(known).filter(isOutbound)
        return found.length >= open.length ? found : null
      })
      t.same(
        records.map(({ reason }) => reason),
        open.map(() => 'TUNNEL_RESET'),
      )
      for (const socket of open) socket.destroy()
      const refused = await refusal(t, peers, 'front', 9001)
      t.match(refused, {
        reason: 'HBONE_PORT_REFUSED',
        detail: `${AWAY_IP}:${HBONE_PORT}: Connection refused`,
      })
    },
  )

  await t.test('another identity at the address is refused by us', ONE_TEST, async (t) => {
    const impostor = await startEnvoy(peers, 'batch')
    t.teardown(() => impostor.stop())
    const record = await poll('the back-off of the dial', async () => {
      const one = await refusal(t, peers, 'front', 9001)
      return one.reason === 'HBONE_PORT_REFUSED' ? null : one
    })
    t.match(record, { reason: 'IDENTITY_MISMATCH', bytes_sent: 0 })
    await impostor.stop()
  })

  await t.test(
    'when Envoy is back it is used, with as many tunnels as its limit of streams asks',
    ONE_TEST,
    async (t) => {
      const again = await startEnvoy(peers, 'away', FEW)
      t.teardown(() => again.stop())
      const first = await poll('greeted again', async () => {
        const one = await greeted(peers)
        return one.text === '' ? null : one
      })
      const sockets = await Promise.all(Array.from({ length: 5 * FEW }, () => greeted(peers)))
      t.same(
        await Promise.all([first, ...sockets].map((socket) => echoes(socket, 'back'))),
        Array(5 * FEW + 1).fill(true),
      )
      const tunnels = await again.stat('http.hbone.downstream_cx_active')
      t.ok(tunnels > 5, `${tunnels} tunnels of ${FEW} streams`)
      for (const socket of [first, ...sockets]) socket.destroy()
    },
  )
}

t.test('Envoy as HBONE server', { timeout: 90_000 }, async (t) => {
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, MESH)
  t.teardown(() => lab.close())
  const peers = { lab, directory }
  await startApplication(t, lab)
  const envoy = await startEnvoy(peers)
  t.teardown(() => envoy.stop())
  await testBytes(t, peers, envoy)
  await testRefusals(t, peers)
  await testGoaway(t, peers, envoy)
  await testDeath(t, peers, envoy)
})
