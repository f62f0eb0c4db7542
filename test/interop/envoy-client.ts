// SPDX-License-Identifier: Apache-2.0
// Envoy as HBONE client of our ztunnel: TCP through CONNECT over mTLS to a meshed server, both ways, in bulk, with
// half-close and many at once; what policies, closed ports and foreign certificates get; drain. In namespaces.
import t, { type Test } from 'tap'
import { clientTls, Envoy, hboneCluster, issueFiles, tunnelListener } from '../support/envoy.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const ENVOY_IP = '10.1.0.3'
const HBONE_PORT = 15_008
const ONE_TEST = { timeout: 30_000 }
const MANY = 60
/** Over the 200 streams our end announces. */
const OVER_LIMIT = 230
const HEADERS = {
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  baggage: 'k8s.cluster.name=far,k8s.namespace.name=edge,k8s.deployment.name=gateway',
  'x-envoy-custom': 'ignored',
}
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\n\r\n'
const GOOD = labMesh(['batch'])

/** Envoy's listeners: where each leads, and as whom. */
const TUNNELS = [
  { port: 7080, as: 'front', authority: `${CART_IP}:8080` },
  { port: 7090, as: 'front', authority: `${CART_IP}:9000` },
  { port: 7091, as: 'front', authority: `${CART_IP}:9001` },
  { port: 7099, as: 'front', authority: `${CART_IP}:9999` },
  { port: 7008, as: 'front', authority: `${CART_IP}:${HBONE_PORT}` },
  { port: 7002, as: 'front', authority: '10.2.0.2:8080' },
  { port: 7180, as: 'batch', authority: `${CART_IP}:8080` },
  { port: 7280, as: 'foreign', authority: `${CART_IP}:8080` },
] as const

interface Peers {
  readonly lab: MeshLab
  readonly envoy: Envoy
}

async function startPeers(t: Test): Promise<Peers> {
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, GOOD)
  t.teardown(() => lab.close())
  const log = Envoy.logPath(directory)
  const clusters = []
  for (const [name, ca] of [
    ['front', 'ca'],
    ['batch', 'ca'],
    ['foreign', 'other-ca'],
  ] as const) {
    const files = await issueFiles(`${directory}/${ca}`, directory, name)
    // A foreign client trusts our root: it is our end that must refuse.
    const roots = name === 'foreign' ? `${directory}/front.roots.pem` : files.roots
    clusters.push(hboneCluster(name, CART_IP, HBONE_PORT, clientTls({ ...files, roots }, identity('cart'))))
  }
  const listeners = TUNNELS.map(({ port, as, authority }) =>
    tunnelListener(port, as, authority, HEADERS, log),
  )
  const envoy = await Envoy.start(lab.namespaceOf('stranger'), directory, listeners, clusters)
  t.teardown(() => envoy.stop())
  return { lab, envoy }
}

const dial = ({ lab }: Peers, port: number): LabSocket => lab.connect('stranger', '127.0.0.1', port)
const isOver = ({ isClosed, hasEnded }: LabSocket): boolean => isClosed || hasEnded
const count = async ({ lab }: Peers): Promise<number> => (await lab.records('n2')).length

async function testBytes(t: Test, peers: Peers): Promise<void> {
  const { lab, envoy } = peers
  await t.test('a request is answered, and both sides know who the other is', ONE_TEST, async (t) => {
    const known = await count(peers)
    const socket = dial(peers, 7080)
    socket.write(REQUEST)
    await socket.until('an answer', ({ text }) => text.includes('client '))
    t.match(socket.text, /200 OK[\s\S]*client 10\.1\.0\.3$/, 'the application sees the address of the client')
    socket.end()
    const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'OK')
    t.match(record, {
      direction: 'inbound',
      transport: 'HBONE',
      'src.identity': identity('front'),
      'src.cluster': 'far',
      'src.namespace': 'shop', // proven by the certificate, whatever baggage claims
      'dst.identity': identity('cart'),
      'dst.hbone_addr': `${CART_IP}:8080`,
      bytes_recv: REQUEST.length,
      bytes_sent: socket.text.length,
    })
    t.match(record?.['src.addr'], new RegExp(`^${ENVOY_IP}:`))
    const line = await envoy.accessLine(/^7080 - .*"200"/)
    t.match(line, 'k8s.namespace.name=shop,k8s.pod.name=cart', 'our baggage')
  })

  await t.test('a client that has finished writing still gets the whole answer', ONE_TEST, async (t) => {
    const request = Array.from({ length: 150_000 }, (_, index) => `line ${index}\n`).join('')
    const socket = dial(peers, 7090)
    socket.write(request)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.ok(socket.hasEnded, 'ended in order')
    t.equal(socket.error, '')
    t.ok(socket.text === request, `${socket.text.length} bytes, each as sent`)
  })

  await t.test('megabytes flow both ways at once, and the server may speak first', ONE_TEST, async (t) => {
    const socket = dial(peers, 7091)
    await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    const bulk = Array.from({ length: 250_000 }, (_, index) => `bulk ${index}\n`).join('')
    for (let at = 0; at < bulk.length; at += 500_000) socket.write(bulk.slice(at, at + 500_000))
    const expected = `220 cart\r\n${bulk}`
    await socket.until('the echo', ({ text, isClosed }) => text.length >= expected.length || isClosed)
    t.ok(socket.text === expected, `${socket.text.length} bytes, each as sent`)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
  })

  await t.test(`${MANY} connections at once share one tunnel`, ONE_TEST, async (t) => {
    const sockets = Array.from({ length: MANY }, () => dial(peers, 7091))
    await Promise.all(sockets.map((socket) => socket.until('the greeting', ({ text }) => text !== '')))
    t.equal(await envoy.stat('cluster.front.http2.streams_active'), MANY)
    sockets.forEach((socket, index) => {
      socket.write(`number ${index};`)
    })
    await Promise.all(sockets.map((socket) => socket.until('the echo', ({ text }) => text.endsWith(';'))))
    t.same(
      sockets.map(({ text }) => text),
      sockets.map((_, index) => `220 cart\r\nnumber ${index};`),
    )
    for (const socket of sockets) socket.end()
    await Promise.all(sockets.map((socket) => socket.until('the end', ({ isClosed }) => isClosed)))
    t.equal(await envoy.stat('cluster.front.upstream_cx_total'), 1, 'one tunnel since the start')
  })

  await t.test(
    `${OVER_LIMIT} connections, more than one tunnel may carry, take a second one`,
    ONE_TEST,
    async (t) => {
      const sockets = Array.from({ length: OVER_LIMIT }, () => dial(peers, 7091))
      await Promise.all(sockets.map((socket) => socket.until('the greeting', ({ text }) => text !== '')))
      t.equal(await envoy.stat('cluster.front.upstream_cx_active'), 2)
      t.equal(await envoy.stat('cluster.front.http2.stream_refused_errors'), 0, 'our limit is known to Envoy')
      for (const socket of sockets) socket.end()
      await Promise.all(sockets.map((socket) => socket.until('the end', ({ isClosed }) => isClosed)))
    },
  )
}

async function testRefusals(t: Test, peers: Peers): Promise<void> {
  const { lab, envoy } = peers
  for (const [what, port, status, reason] of [
    ['an identity that a policy refuses', 7180, '401', 'POLICY_DENY'],
    ['a port nobody listens on', 7099, '503', 'ENDPOINT_REFUSED'],
    ['a port of the mesh', 7008, '503', 'CONNECT_INTERNAL_PORT'],
    ['the address of another pod', 7002, '400', 'CONNECT_DESTINATION'],
  ] as const) {
    await t.test(`${what} gets ${status}, and the record says why`, ONE_TEST, async (t) => {
      const known = await count(peers)
      const socket = dial(peers, port)
      socket.write(REQUEST)
      await socket.until('refused', isOver)
      t.equal(socket.text, '')
      t.match(await envoy.accessLine(new RegExp(`^${port} `)), `"key":":status","value":"${status}"`)
      const [record, ...others] = await lab.recordsAfter('n2', known, () => true)
      t.match(record, { reason, direction: 'inbound', bytes_recv: 0, bytes_sent: 0 })
      t.same(others, [])
      if (reason === 'POLICY_DENY') t.equal(record?.policy, 'shop/no-batch')
      socket.destroy()
    })
  }

  await t.test('a certificate of another CA gets no tunnel', ONE_TEST, async (t) => {
    const known = await count(peers)
    const socket = dial(peers, 7280)
    await socket.until('refused', isOver)
    t.match(await envoy.accessLine(/^7280 /), /^7280 \S*UF/)
    const [record] = await lab.recordsAfter('n2', known, () => true)
    t.match(record?.reason, /^(TLS_HANDSHAKE|CERT_INVALID)$/)
    t.equal(await envoy.stat('cluster.foreign.upstream_rq_completed'), 0)
    socket.destroy()
  })
}

async function testEnds(t: Test, peers: Peers): Promise<void> {
  const { lab, envoy } = peers
  await t.test('a policy that comes cuts the stream, not the tunnel', ONE_TEST, async (t) => {
    const known = await count(peers)
    const socket = dial(peers, 7091)
    await socket.until('the greeting', ({ text }) => text !== '')
    await lab.configure(labMesh(['batch', 'front']))
    await socket.until('cut', isOver)
    socket.destroy()
    const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'POLICY_CHANGED')
    t.match(record, { policy: 'shop/no-front', 'src.identity': identity('front') })
    await lab.configure(GOOD)
    await poll('allowed again', async () => {
      const again = dial(peers, 7091)
      await again.until('an outcome', (one) => one.text !== '' || isOver(one))
      again.destroy()
      return again.text !== '' || null
    })
    t.equal(await envoy.stat('cluster.front.upstream_cx_destroy'), 0, 'no tunnel has ended')
    t.equal(await envoy.stat('cluster.front.http2.keepalive_timeout'), 0, 'our end answers pings')
  })

  await t.test('a node that drains says GOAWAY and lets the stream run on', ONE_TEST, async (t) => {
    const socket = dial(peers, 7091)
    await socket.until('the greeting', ({ text }) => text !== '')
    const stopped = lab.stop('n2')
    await poll('GOAWAY', async () =>
      (await envoy.stat('cluster.front.upstream_cx_close_notify')) > 0 ? true : null,
    )
    socket.write('still here')
    await socket.until('the echo', ({ text, isClosed }) => text.endsWith('still here') || isClosed)
    t.match(socket.text, /still here$/)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    t.equal(await stopped, '0')
  })
}

t.test('Envoy as HBONE client', { timeout: 90_000 }, async (t) => {
  const peers = await startPeers(t)
  await testBytes(t, peers)
  await testRefusals(t, peers)
  await testEnds(t, peers)
})
