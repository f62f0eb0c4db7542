// SPDX-License-Identifier: Apache-2.0
// The mesh lab with a fourth workload: the pod `stranger` becomes `peer`, served by Istio's ztunnel. One
// configuration file drives all three ztunnels. And what both peer tests ask of a connection.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { IstioZtunnel, istioBinary } from './istio-ztunnel.ts'
import { labDirectory } from './lab-directory.ts'
import { type LabPod, type LabSocket, labMesh, MeshLab } from './mesh-lab.ts'

const AGENT = fileURLToPath(new URL('./pod-agent.ts', import.meta.url))
const MANY = 50
export const PEER_IP = '10.1.0.3'
export const PEER_VIP = '10.96.0.12'
export const CART_IP = '10.2.0.1'
export const CART_VIP = '10.96.0.10'
export const HBONE_PORT = 15_008
export const ONE_TEST = { timeout: 30_000 }
export const REQUEST = 'GET / HTTP/1.1\r\nhost: peer\r\n\r\n'
export const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`

const HOST = 'peer.shop.svc.cluster.local'
const PORTS = '{80: 8080, 91: 9001}'
/** batch may call nobody; peer may not use HTTP. */
const MESH = labMesh(['batch'])
  .replaceAll('{80: 8080}', PORTS)
  .replace(
    'workloads:\n',
    'workloads:\n- {uid: peer, name: peer, namespace: shop, serviceAccount: peer, trustDomain: cluster.local, ' +
      `workloadIps: ["${PEER_IP}"], protocol: HBONE, node: n9, services: {"shop/${HOST}": ${PORTS}}}\n`,
  )
  .replace(
    'services:\n',
    `services:\n- {name: peer, namespace: shop, hostname: ${HOST}, vips: ["/${PEER_VIP}"], ports: ${PORTS}}\n`,
  )
  .concat(
    '- {name: no-peer-http, namespace: shop, scope: Namespace, action: Deny, dryRun: false, rules: ' +
      '[[[{principals: [!Exact cluster.local/ns/shop/sa/peer], destinationPorts: [8080]}]]]}\n',
  )

/** Our two nodes and Istio's ztunnel. */
export interface IstioLab {
  readonly lab: MeshLab
  readonly istio: IstioZtunnel
}

/** Everything serves when this resolves; it ends with the test. `change` makes another mesh, `enrolled` are pods of n1. */
export async function startIstioLab(
  t: Test,
  change: (mesh: string) => string = (mesh) => mesh,
  enrolled: readonly LabPod[] = ['front', 'batch'],
): Promise<IstioLab> {
  istioBinary() // before anything is built
  const directory = labDirectory(t)
  const lab = await MeshLab.start(directory, change(MESH), {}, async (started) => {
    started.enrolled = { n1: enrolled, n2: ['cart'] }
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  const namespace = lab.namespaceOf('stranger')
  const istio = await IstioZtunnel.start({
    namespace,
    workload: 'shop/peer/peer',
    meshFile: join(directory, 'mesh.yaml'),
    caDirectory: join(directory, 'ca'),
    directory,
  })
  t.teardown(() => istio.stop())
  await startAgent(t, lab)
  return { lab, istio }
}

/** The application of the pod `peer`. */
export async function startAgent(t: Test, lab: MeshLab): Promise<void> {
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

export const isOver = ({ isClosed, hasEnded }: LabSocket): boolean => isClosed || hasEnded

/** A connection to a greeter that was greeted. */
export async function greeted(lab: MeshLab, pod: LabPod, ip: string, port = 9001): Promise<LabSocket> {
  const socket = lab.connect(pod, ip, port)
  await socket.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return socket
}

/** True when the greeter sends `text` back. */
export async function echoes(socket: LabSocket, text: string): Promise<boolean> {
  socket.write(text)
  await socket.until('the echo', (one) => one.text.endsWith(text) || one.isClosed)
  return socket.text.endsWith(text)
}

/** Half-close, bulk both ways and many at once, from a pod to the applications at `ip`. */
export async function testStreams(t: Test, lab: MeshLab, pod: LabPod, ip: string): Promise<void> {
  await t.test('a client that has finished writing still gets the whole answer', ONE_TEST, async (t) => {
    const request = Array.from({ length: 150_000 }, (_, index) => `line ${index}\n`).join('')
    const socket = lab.connect(pod, ip, 9000)
    socket.write(request)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.ok(socket.hasEnded, 'ended in order')
    t.equal(socket.error, '')
    t.ok(socket.text === request, `${socket.text.length} bytes, each as sent`)
  })

  await t.test('megabytes flow both ways at once, and the server may speak first', ONE_TEST, async (t) => {
    const socket = await greeted(lab, pod, ip)
    const bulk = Array.from({ length: 400_000 }, (_, index) => `bulk ${index}\n`).join('')
    for (let at = 0; at < bulk.length; at += 500_000) socket.write(bulk.slice(at, at + 500_000))
    const expected = `220 cart\r\n${bulk}`
    await socket.until('the echo', ({ text, isClosed }) => text.length >= expected.length || isClosed)
    t.ok(socket.text === expected, `${socket.text.length} bytes, each as sent`)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
  })

  await t.test(`${MANY} connections at once`, ONE_TEST, async (t) => {
    const sockets = await Promise.all(Array.from({ length: MANY }, () => greeted(lab, pod, ip)))
    t.same(
      await Promise.all(sockets.map((socket, index) => echoes(socket, `number ${index};`))),
      sockets.map(() => true),
    )
    for (const socket of sockets) socket.end()
    await Promise.all(sockets.map((socket) => socket.until('the end', ({ isClosed }) => isClosed)))
    t.same(
      sockets.map(({ error }) => error).filter((error) => error !== ''),
      [],
    )
  })
}
