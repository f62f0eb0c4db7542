// SPDX-License-Identifier: Apache-2.0
// Envoy on both sides of a real waypoint: in the pod that calls and in the pod that is called, by HTTP/1.1 and by HTTP/2. What the
// caller's Envoy sends goes to the service's address, through ztunnel and waypoint, to the other pod's Envoy.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { envoyBinary } from '../../scripts/envoy.ts'
import { Envoy, type EnvoyConfig, httpCluster, httpListener } from '../support/envoy.ts'
import type { PeerAnswer, PeerTold } from '../support/envoy-peer.ts'
import { type LabPod, poll } from '../support/mesh-lab.ts'
import { RPC_PEER, SERVICES, WaypointMesh } from '../support/waypoint-mesh.ts'

const PEER = fileURLToPath(new URL('../support/envoy-peer.ts', import.meta.url))
/** Where the service itself listens, behind the Envoy of its pod. */
const PEER_PORT = 8095

type Version = 'h1' | 'h2'
/** Services whose pods have an Envoy before them, and one that has no pod. */
const BEHIND = {
  h1: { vip: '10.96.0.70', port: 8091, name: 'http' },
  h2: { vip: '10.96.0.71', port: 8092, name: 'http2' },
  rpc: { vip: '10.96.0.72', port: 8093, name: 'grpc' },
  nobody: { vip: '10.96.0.73', port: 8094, name: 'http' },
} as const
/** Listeners of the caller's Envoy: by which version it asks which service. */
const WAYS = [
  { port: 18_011, asks: 'h1', service: 'h1' },
  { port: 18_012, asks: 'h1', service: 'h2' },
  { port: 18_021, asks: 'h2', service: 'h1' },
  { port: 18_022, asks: 'h2', service: 'h2' },
  { port: 18_031, asks: 'h2', service: 'rpc' },
  { port: 18_041, asks: 'h1', service: 'nobody' },
  { port: 18_042, asks: 'h2', service: 'nobody' },
] as const satisfies readonly { port: number; asks: Version; service: keyof typeof BEHIND }[]

const serviceYaml = (name: keyof typeof BEHIND): string => {
  const { vip, port, name: portName } = BEHIND[name]
  return (
    `{apiVersion: v1, kind: Service, metadata: {name: envoy-${name}, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, ` +
    `spec: {selector: {app: ${name === 'nobody' ? 'nobody' : 'cart'}}, clusterIP: ${vip}, clusterIPs: [${vip}], ` +
    `ports: [{name: ${portName}, port: 80, targetPort: ${port}}]}}`
  )
}

/** An Envoy in a pod; it ends with the test. */
async function startEnvoy(
  t: Test,
  mesh: WaypointMesh,
  pod: LabPod,
  listeners: (logPath: string) => readonly EnvoyConfig[],
  clusters: readonly EnvoyConfig[],
): Promise<Envoy> {
  // Its admin socket has a path of at most 107 bytes.
  const directory = mkdtempSync(join(tmpdir(), 'sidestep-envoy-'))
  const logPath = Envoy.logPath(directory)
  const envoy = await Envoy.start(mesh.lab.namespaceOf(pod), directory, listeners(logPath), clusters)
  t.teardown(async () => {
    await envoy.stop()
    rmSync(directory, { recursive: true, force: true })
  })
  return envoy
}

async function start(t: Test): Promise<{ readonly mesh: WaypointMesh; readonly near: Envoy }> {
  const names = Object.keys(BEHIND) as (keyof typeof BEHIND)[] // as: its own keys
  const mesh = await WaypointMesh.start(t, ...names.map(serviceYaml))
  await mesh.startInCart('peer', '--no-warnings', PEER, 'server', String(PEER_PORT))
  await mesh.startRpc()
  const address = '0.0.0.0'
  const [near] = await Promise.all([
    startEnvoy(
      t,
      mesh,
      'front',
      (logPath) =>
        WAYS.map(({ port, service }) =>
          httpListener(port, `to-${port}`, service === 'rpc' ? 'HTTP2' : 'HTTP1', { logPath }),
        ),
      WAYS.map(({ port, asks, service }) => httpCluster(`to-${port}`, 80, asks, BEHIND[service].vip)),
    ),
    startEnvoy(
      t,
      mesh,
      'cart',
      () => [
        httpListener(BEHIND.h1.port, 'peer', 'HTTP1', { address }),
        httpListener(BEHIND.h2.port, 'peer', 'HTTP2', { address }),
        httpListener(BEHIND.rpc.port, 'rpc', 'HTTP2', { address }),
      ],
      [httpCluster('peer', PEER_PORT, 'h1'), httpCluster('rpc', SERVICES.rpc.port, 'h2')],
    ),
  ])
  return { mesh, near }
}

const peer = async (mesh: WaypointMesh, port: number, ...mode: readonly string[]): Promise<unknown> =>
  JSON.parse(
    await mesh.run('front', process.execPath, '--no-warnings', PEER, 'client', String(port), ...mode),
  )

t.setTimeout(400_000)
t.test('Envoy calls Envoy through a waypoint', { timeout: 390_000 }, async (t) => {
  await envoyBinary() // which may have to be installed
  const { mesh, near } = await start(t)

  for (const { port, asks, service } of WAYS) {
    if (service !== 'h1' && service !== 'h2') continue
    await t.test(`it asks by ${asks}, and is asked by ${service}`, async (t) => {
      const sinceMs = Date.now()
      // Of HTTP/2 none of both changes to another protocol.
      const canUpgrade = asks === 'h1' && service === 'h1'
      const told = (await peer(mesh, port, canUpgrade ? 'upgrade' : '')) as PeerTold // as: what it writes
      t.match(told.get, { status: 200, method: 'GET', framing: 'none', bytes: 0 })
      t.match(told.length, { status: 200, method: 'POST', framing: 'length', isSame: true, bytes: 1_000_000 })
      t.match(told.chunked, { status: 200, framing: 'chunked', isSame: true, hasTrailers: true })
      t.equal(told.parallel, 100, 'of a hundred at once')
      t.not(told.broken, '', 'half an answer is never a whole one')
      t.same(told.uploads, { open: 1, lost: 1 }, 'who leaves in the middle is told as gone')
      if (canUpgrade) t.equal(told.upgraded, 'all of it', 'of what it said as WebSocket')
      const authority = `${BEHIND[service].vip}:80`
      const records = await poll('all records', async () => {
        const all = (await mesh.records()).filter(
          (each) => each['dst.authority'] === authority && Date.parse(String(each.time)) >= sinceMs,
        )
        return all.some(({ path, reason }) => path === '/upload' && reason !== 'OK') ? all : null
      })
      const failed = records.filter(({ path, reason }) => path !== undefined && reason !== 'OK')
      t.same([...new Set(failed.map(({ path }) => path))].sort(), ['/broken', '/upload'], 'and no others')
    })
  }

  await t.test('gRPC: an answer, a status, a stream both ways', async (t) => {
    const port = WAYS.find(({ service }) => service === 'rpc')?.port
    const args = ['--no-warnings', RPC_PEER, 'client', `127.0.0.1:${port}`]
    const told: unknown = JSON.parse(await mesh.run('front', process.execPath, ...args))
    t.match(told, { answer: /^hello for /, failure: '5 no such thing', chat: 100 })
  })

  await t.test('a service without endpoint: Envoy gets the reason', async (t) => {
    for (const { port, service } of WAYS) {
      if (service !== 'nobody') continue
      const answer = (await peer(mesh, port, 'once')) as PeerAnswer // as: what it writes
      t.match(answer, { status: 503, reason: 'NO_ENDPOINT' })
      t.match(await near.accessLine(new RegExp(`^${port} `)), /^\d+ 503 \S+ NO_ENDPOINT$/)
    }
  })
})
