// SPDX-License-Identifier: Apache-2.0
// TLS that a waypoint does not end: routed by the server that the client asks for, real processes and Node's own TLS. And
// connections of bytes when policies change.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { type LabRecord, poll } from '../support/mesh-lab.ts'
import { serverCertificate } from '../support/server-certificate.ts'
import { identity } from '../support/waypoint-lab.ts'
import { WaypointMesh } from '../support/waypoint-mesh.ts'

const NAMED = fileURLToPath(new URL('../support/tls-named.ts', import.meta.url))
/** Services of TLS: name → address and port of the pod. */
const SERVERS = {
  secure: { vip: '10.96.0.50', port: 8085 },
  'secure-a': { vip: '10.96.0.51', port: 8086 },
  'secure-b': { vip: '10.96.0.52', port: 8087 },
} as const

const service = (name: keyof typeof SERVERS, annotations: string): string =>
  `{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: shop, annotations: ${annotations}}, spec: ` +
  `{selector: {app: cart}, clusterIP: ${SERVERS[name].vip}, clusterIPs: [${SERVERS[name].vip}], ports: ` +
  `[{name: tls, port: 443, appProtocol: tls, targetPort: ${SERVERS[name].port}}]}}`
const tlsRoute = (name: string, hostname: string): string =>
  `{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TLSRoute, metadata: {name: ${name}, namespace: shop}, spec: ` +
  `{parentRefs: [{group: "", kind: Service, name: secure}], hostnames: ["${hostname}"], ` +
  `rules: [{backendRefs: [{name: ${name}, port: 443}]}]}}`
const MIXED_VIP = '10.96.0.53'
/** Ports that say nothing of themselves: one with a TLSRoute, and one of a server that speaks first. */
const MIXED =
  '{apiVersion: v1, kind: Service, metadata: {name: mixed, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, ' +
  `spec: {selector: {app: cart}, clusterIP: ${MIXED_VIP}, clusterIPs: [${MIXED_VIP}], ` +
  'ports: [{name: one, port: 443, targetPort: 8085}, {name: greeter, port: 91, targetPort: 9001}]}}'
const MIXED_ROUTE =
  '{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TLSRoute, metadata: {name: mixed, namespace: shop}, spec: ' +
  '{parentRefs: [{group: "", kind: Service, name: mixed, port: 443}], hostnames: [a.example], ' +
  'rules: [{backendRefs: [{name: secure-a, port: 443}]}]}}'
const OBJECTS = [
  service('secure', '{sidestep.dev/waypoint: wp}'),
  service('secure-a', '{}'),
  service('secure-b', '{}'),
  ...[tlsRoute('secure-a', 'a.example'), tlsRoute('secure-b', '*.example'), MIXED, MIXED_ROUTE],
]
const denyFront = (name: string, of: string, when = ''): string =>
  '{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, ' +
  `metadata: {name: ${name}, namespace: shop}, spec: {targetRefs: [{group: "", kind: Service, name: ${of}}], action: DENY, ` +
  `rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/front]}}]${when}}]}}`

async function serveAll(mesh: WaypointMesh): Promise<void> {
  const { certificatePem, privateKeyPem } = await serverCertificate()
  const [certificate, key] = [join(mesh.lab.directory, 'tls.pem'), join(mesh.lab.directory, 'tls.key')]
  writeFileSync(certificate, certificatePem)
  writeFileSync(key, privateKeyPem, { mode: 0o600 })
  for (const [name, { port }] of Object.entries(SERVERS))
    await mesh.startInCart(name, '--no-warnings', NAMED, 'serve', name, String(port), certificate, key)
}

/** What a client in front is answered: who, and which name it was asked for. */
function ask(mesh: WaypointMesh, ip: string, port: number, serverName: string): Promise<string> {
  const args = ['--no-warnings', NAMED, 'ask', ip, String(port), serverName]
  return mesh.run('front', process.execPath, ...args)
}

const lastRecord = (mesh: WaypointMesh, holds: (record: LabRecord) => boolean): Promise<LabRecord> =>
  poll('a record of the waypoint', async () => (await mesh.records()).findLast(holds) ?? null)

type Check = (t: Test, mesh: WaypointMesh) => Promise<void>

const CHECKS: Readonly<Record<string, Check>> = {
  'a TLSRoute by its server name, the exact one first': async (t, mesh) => {
    const { vip } = SERVERS.secure
    t.equal(await ask(mesh, vip, 443, 'a.example'), 'secure-a a.example')
    t.equal(await ask(mesh, vip, 443, 'A.Example'), 'secure-a A.Example')
    t.equal(await ask(mesh, vip, 443, 'other.example'), 'secure-b other.example')
    t.equal(await ask(mesh, vip, 443, 'elsewhere.test'), 'nothing')
    t.match(await lastRecord(mesh, ({ reason }) => reason === 'ROUTE_NOT_FOUND'), {
      detail: 'elsewhere.test',
    })
  },

  'what pretends to be TLS is refused, by name': async (t, mesh) => {
    const socket = mesh.lab.connect('front', SERVERS.secure.vip, 443)
    socket.write('\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00')
    await socket.until('the end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    const refused = await lastRecord(mesh, ({ reason }) => reason === 'TLS_HANDSHAKE')
    t.match(refused, { detail: /ClientHello/, 'dst.authority': `${SERVERS.secure.vip}:443` })
  },

  'on a port that says nothing of itself nobody is held for his silence': async (t, mesh) => {
    t.equal(await ask(mesh, MIXED_VIP, 443, 'a.example'), 'secure-a a.example')
    const startedMs = performance.now()
    const silent = mesh.lab.connect('front', MIXED_VIP, 443)
    await silent.until('the end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    t.ok(await lastRecord(mesh, (record) => record['dst.authority'] === `${MIXED_VIP}:443`))
    const greeted = mesh.lab.connect('front', MIXED_VIP, 91)
    await greeted.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    t.equal(greeted.text, '220 cart\r\n')
    greeted.destroy()
    t.ok(performance.now() - startedMs < 3_000, 'within moments')
  },

  'a policy of server names is about those': async (t, mesh) => {
    const deny = denyFront('no-b', 'secure', ', when: [{key: connection.sni, values: [b.example]}]')
    await mesh.configure([...OBJECTS, deny], () => true)
    const { vip } = SERVERS.secure
    const denied = await poll('the policy in force', async () => {
      if ((await ask(mesh, vip, 443, 'b.example')) !== 'nothing') return null
      return (await mesh.records()).findLast(({ reason }) => reason === 'POLICY_DENY') ?? null
    })
    t.match(denied, { detail: /no-b/ })
    t.equal(await ask(mesh, vip, 443, 'c.example'), 'secure-b c.example')
  },

  'a connection that would not be let in any more is ended, others are not': async (t, mesh) => {
    await mesh.configure(OBJECTS, () => true)
    const [denied, other] = [
      mesh.lab.connect('front', MIXED_VIP, 91),
      mesh.lab.connect('batch', MIXED_VIP, 91),
    ]
    for (const socket of [denied, other])
      await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    await mesh.configure([...OBJECTS, denyFront('no-front', 'mixed')], () => true)
    await denied.until('its end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    const ended = await lastRecord(
      mesh,
      (record) => record.reason === 'POLICY_CHANGED' && record['dst.authority'] === `${MIXED_VIP}:91`,
    )
    t.match(ended, { detail: /no-front/, 'src.identity': identity('front') })
    other.write('ping')
    await other.until('its echo', ({ text }) => text.endsWith('ping'))
    other.destroy()
  },
}

t.setTimeout(200_000)
t.test('a waypoint and what it cannot look into', { timeout: 180_000 }, async (t) => {
  const mesh = await WaypointMesh.start(t, ...OBJECTS)
  await serveAll(mesh)
  for (const [name, check] of Object.entries(CHECKS)) await t.test(name, (t) => check(t, mesh))
})
