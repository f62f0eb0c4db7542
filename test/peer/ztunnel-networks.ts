// SPDX-License-Identifier: Apache-2.0
// Istio's ztunnel and ours in two networks, with a gateway between that sees no more than where a connection goes (double
// HBONE): each as source and as destination. Needs ZTUNNEL_BIN and root.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type RunningGateway, startGateway } from '../support/gateway-lab.ts'
import {
  CART_VIP,
  echoes,
  greeted,
  identity,
  ONE_TEST,
  PEER_IP,
  PEER_VIP,
  startAgent,
} from '../support/istio-lab.ts'
import { IstioZtunnel, istioBinary } from '../support/istio-ztunnel.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, labMesh, MeshLab } from '../support/mesh-lab.ts'

const CART_HOST = 'cart.shop.svc.cluster.local'
const PEER_HOST = 'peer.shop.svc.cluster.local'
const PORTS = '{80: 8080, 90: 9000, 91: 9001}'
const GATEWAY = 'networkGateway: {destination: shop/ew.shop, hboneMtlsPort: 15008}'
const GATEWAY_IP = '10.1.0.2'
const workload = (name: string, network: string, ip: string, more: string): string =>
  `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local, ` +
  `workloadIps: ["${ip}"], network: ${network}, ${more}}\n`
const service = (name: string, vip: string): string =>
  `- {name: ${name}, namespace: shop, hostname: ${name}.shop.svc.cluster.local, ports: ${PORTS}, ` +
  `vips: ["near/${vip}", "far/${vip}"], subjectAltNames: ["${identity(name)}"]}\n`

/** `near`: front and cart, ours. `far`: peer, Istio's. Neither network has a route of the mesh to the other. */
const MESH =
  `workloads:\n${workload('front', 'near', '10.1.0.1', 'protocol: HBONE, node: n1, services: {}')}` +
  workload(
    'cart',
    'near',
    '10.2.0.1',
    `protocol: HBONE, node: n2, services: {"shop/${CART_HOST}": ${PORTS}}, ${GATEWAY}`,
  ) +
  workload(
    'peer',
    'far',
    PEER_IP,
    `protocol: HBONE, node: n9, services: {"shop/${PEER_HOST}": ${PORTS}}, ${GATEWAY}`,
  ) +
  workload('gateway', 'near', GATEWAY_IP, 'services: {shop/ew.shop: {15008: 15008}}') +
  `services:\n${service('cart', CART_VIP)}${service('peer', PEER_VIP)}` +
  '- {name: ew, namespace: shop, hostname: ew.shop, vips: [], ports: {15008: 15008}}\n' +
  labMesh([]).slice(labMesh([]).indexOf('policies:'))

interface Networks {
  readonly lab: MeshLab
  readonly istio: IstioZtunnel
  readonly gateway: RunningGateway
}

async function start(t: Test): Promise<Networks> {
  istioBinary()
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, MESH, { SIDESTEP_NETWORK: 'near' }, async (starting) => {
    starting.enrolled = { n1: ['front'], n2: ['cart'] } // batch is where the gateway runs
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  const istio = await IstioZtunnel.start({
    ...{ namespace: lab.namespaceOf('stranger'), workload: 'shop/peer/peer', network: 'far', directory },
    ...{ meshFile: join(directory, 'mesh.yaml'), caDirectory: join(directory, 'ca') },
  })
  t.teardown(() => istio.stop())
  await startAgent(t, lab)
  const to = (host: string, ip: string): [string, string][] =>
    [80, 90, 91].map((port) => [`${host}:${port}`, `${ip}:15008`])
  const targets = Object.fromEntries([...to(CART_HOST, '10.2.0.1'), ...to(PEER_HOST, PEER_IP)])
  const gateway = await startGateway(t, lab, { targets, secret: 'hello' }, 'batch')
  return { lab, istio, gateway }
}

const isOf =
  (direction: string) =>
  (record: LabRecord): boolean =>
    record.direction === direction

async function testSource(t: Test, { lab, istio, gateway }: Networks): Promise<void> {
  await t.test('ours reaches Istio’s, which believes the inner tunnel', ONE_TEST, async (t) => {
    const known = {
      theirs: istio.records.length,
      ours: (await lab.records('n1')).length,
      seen: gateway.events.length,
    }
    const socket = await greeted(lab, 'front', PEER_VIP, 91)
    t.ok(await echoes(socket, 'hello'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    const [ours] = await lab.recordsAfter('n1', known.ours, isOf('outbound'))
    t.match(ours, {
      ...{ reason: 'OK', 'dst.addr': `${GATEWAY_IP}:15008`, 'dst.hbone_addr': `${PEER_HOST}:91` },
      ...{ 'dst.identity': identity('peer'), bytes_sent: 5, bytes_recv: socket.text.length },
    })
    const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'inbound')
    t.match(theirs, { 'src.identity': identity('front'), 'dst.hbone_addr': `${PEER_HOST}:91` })
    const seen = await gateway.ended(known.seen)
    t.match(seen, { authority: `${PEER_HOST}:91`, identity: identity('front'), hasSeenSecret: false })
  })
}

async function testDestination(t: Test, { lab, istio, gateway }: Networks): Promise<void> {
  await t.test('Istio’s reaches ours', ONE_TEST, async (t) => {
    const known = {
      theirs: istio.records.length,
      ours: (await lab.records('n2')).length,
      seen: gateway.events.length,
    }
    const socket = await greeted(lab, 'stranger', CART_VIP, 91)
    t.ok(await echoes(socket, 'hello'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'outbound')
    t.match(theirs, { 'dst.addr': `${GATEWAY_IP}:15008`, 'dst.hbone_addr': `${CART_HOST}:91`, bytes_sent: 5 })
    const [ours] = await lab.recordsAfter('n2', known.ours, isOf('inbound'))
    t.match(ours, {
      ...{ reason: 'OK', 'src.identity': identity('peer') },
      ...{ 'dst.hbone_addr': `${CART_HOST}:91`, bytes_recv: 5 },
    })
    const seen = await gateway.ended(known.seen)
    t.match(seen, { authority: `${CART_HOST}:91`, identity: identity('peer'), hasSeenSecret: false })
  })

  await t.test('both ways at once, a whole answer after the end of the question', ONE_TEST, async (t) => {
    const question = Array.from({ length: 60_000 }, (_, index) => `line ${index}\n`).join('')
    const sockets = [lab.connect('front', PEER_VIP, 90), lab.connect('stranger', CART_VIP, 90)]
    for (const socket of sockets) {
      socket.write(question)
      socket.end()
    }
    for (const socket of sockets) {
      await socket.until('the end', ({ isClosed }) => isClosed)
      t.equal(socket.error, '')
      t.ok(socket.text === question, `${socket.text.length} bytes`)
    }
  })
}

t.setTimeout(180_000)
t.test('double HBONE between Istio’s ztunnel and ours', { timeout: 150_000 }, async (t) => {
  const networks = await start(t)
  await testSource(t, networks)
  await testDestination(t, networks)
})
