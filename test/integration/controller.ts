// SPDX-License-Identifier: Apache-2.0
// The whole controller in this process, and what a ztunnel brings to follow it: join, certificates, configuration.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { App } from '../../controller/app.ts'
import { readConfig } from '../../controller/config.ts'
import { ControllerLink, parseAddresses } from '../../mesh/control/controller-link.ts'
import { DiscoveryClient } from '../../mesh/discovery/discovery-client.ts'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import type { MeshConfig } from '../../mesh/model/mesh-state.ts'
import { type Clock, systemClock } from '../../mesh/runtime/clock.ts'
import { discoveryNode } from '../../ztunnel/model-discovery.ts'
import { MemorySource } from '../support/memory-source.ts'
import { requestUnix } from '../support/unix-http.ts'

const log = pino({ level: 'silent' })
const CART = 'spiffe://cluster.local/ns/shop/sa/cart'

const SHOP = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {sidestep.dev/mode: ambient}}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec: {nodeName: node-a, serviceAccountName: cart, containers: [{name: main, ports: [{containerPort: 8080}]}]}
status:
  phase: Running
  podIP: 10.0.0.7
  podIPs: [{ip: 10.0.0.7}]
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], ports: [{port: 80, targetPort: 8080}]}
`

/** The clock of the machine, put forward by the test; timers are the machine's. */
class SkewedClock implements Clock {
  #aheadMs = 0

  get nowMs(): number {
    return systemClock.nowMs + this.#aheadMs
  }

  get passedMs(): number {
    return systemClock.passedMs + this.#aheadMs
  }

  startTimer: Clock['startTimer'] = (delayMs, callback) => systemClock.startTimer(delayMs, callback)

  advance(byMs: number): void {
    this.#aheadMs += byMs
  }
}

interface Lab {
  readonly app: App
  readonly source: MemorySource
  readonly directory: string
  readonly rootsFile: string
  readonly clock: SkewedClock
  readonly admin: (method: string, path: string, body?: unknown) => Promise<{ status: number; body: unknown }>
}

async function start(t: Test, text = SHOP, directory = shortDirectory(t)): Promise<Lab> {
  const socket = join(directory, 'admin.sock')
  const { options, mistakes } = readConfig(
    [
      ...['--config-directory', 'unused', '--listen-host', '127.0.0.1', '--listen-port', '0'],
      ...['--state-directory', join(directory, 'state'), '--admin-socket', socket],
    ],
    {},
  )
  t.same(mistakes, [])
  const source = new MemorySource(text)
  const clock = new SkewedClock()
  const app = new App({ config: options, source, clock, log })
  await app.start()
  t.teardown(() => app.stop())
  const rootsFile = join(directory, 'roots.pem')
  writeFileSync(rootsFile, await app.authority.rootsPem())
  const admin: Lab['admin'] = async (method, path, body) => {
    const answer = await requestUnix(socket, method, path, body)
    return { status: answer.status, body: answer.body === '' ? null : JSON.parse(answer.body) }
  }
  return { app, source, directory, rootsFile, clock, admin }
}

/** The path of a Unix socket has 107 bytes at most. */
function shortDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'controller-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function joinToken(lab: Lab, node = 'node-a', identities = [CART]): Promise<string> {
  const { status, body } = await lab.admin('POST', '/join-tokens', { node, identities })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return (body as { token: string }).token // as: the route's answer
}

function link(t: Test, lab: Lab, token: string | null, nodeName = 'node-a'): ControllerLink {
  const tokenFile = join(lab.directory, `${nodeName}.token`)
  if (token !== null) writeFileSync(tokenFile, token)
  const made = new ControllerLink({
    controllerAddresses: [],
    caAddresses: parseAddresses(`https://localhost:${lab.app.port}`),
    ...{
      rootsFile: lab.rootsFile,
      tokenFile,
      clusterId: 'Kubernetes',
      nodeName,
      trustDomain: 'cluster.local',
    },
    stateDirectory: join(lab.directory, `state-of-${nodeName}`),
    ...{ requests: certificateRequests, clock: systemClock, random: () => 0.5, log },
  })
  t.teardown(() => made.close())
  return made
}

async function certificateOf(from: ControllerLink, identity: string) {
  const { owner, csrPem } = await certificateRequests.begin(identity)
  const chain = await from.issuer.issue(identity, csrPem, 3600)
  return certificateRequests.finish(owner, chain, Date.now())
}

function follow(t: Test, lab: Lab, from: ControllerLink) {
  const configs: MeshConfig[] = []
  let wake = (): void => {}
  const client = new DiscoveryClient({
    addresses: [`localhost:${lab.app.port}`],
    node: discoveryNode({ nodeName: 'node-a', podName: '', podNamespace: 'istio-system', instanceIp: '' }),
    credentials: () => from.credentials(),
    ...{ clock: systemClock, random: () => 0, log },
    onConfig: (config) => {
      configs.push(config)
      wake()
    },
  })
  t.teardown(() => client.stop())
  client.start()
  return {
    client,
    until: async (holds: (config: MeshConfig) => boolean): Promise<MeshConfig> => {
      while (true) {
        const last = configs.at(-1)
        if (last !== undefined && holds(last)) return last
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
}

t.test('a node joins once, gets the certificates of its workloads, follows the configuration', async (t) => {
  const lab = await start(t)
  const node = link(t, lab, await joinToken(lab))
  await node.start()
  const { until } = follow(t, lab, node)
  const config = await until(() => true)
  t.match(config.workloads, [
    { uid: 'Kubernetes//Pod/shop/cart', protocol: 'HBONE', workloadIps: ['10.0.0.7'], node: 'node-a' },
  ])
  t.match(config.services, [{ hostname: 'cart.shop.svc.cluster.local', vips: [{ ip: '10.96.0.7' }] }])
  const certificate = await certificateOf(node, CART)
  t.equal(certificate.identity, CART)
  t.equal(certificate.rootsPem.join('').trim(), (await lab.app.authority.rootsPem()).trim())
  lab.source.set(SHOP.replace('port: 80,', 'port: 81,'))
  await until(({ services }) => services[0]?.ports[81] === 8080)
  t.match((await lab.admin('GET', '/clients')).body, [{ node: 'node-a', caller: 'node certificate' }])
  t.match(await lab.admin('GET', '/ready'), { status: 200, body: { pending: { length: 0 } } })
})

t.test('a node gets no certificate that is not on its list', async (t) => {
  const lab = await start(t)
  const node = link(t, lab, await joinToken(lab))
  await node.start()
  for (const identity of [
    'spiffe://cluster.local/ns/bank/sa/vault',
    'spiffe://cluster.local/ns/sidestep.node/sa/node-b',
    'spiffe://elsewhere/ns/shop/sa/cart',
  ])
    await t.rejects(certificateOf(node, identity), { name: 'MeshError' }, identity)
  const audit = readFileSync(join(lab.directory, 'state', 'audit.log'), 'utf8')
    .trim()
    .split('\n')
  const events = audit.map((line) => JSON.parse(line) as { event: string; identity: string; reason: string }) // as: our log
  t.equal(events.filter(({ event }) => event === 'refused').length, 3)
  t.equal(statSync(join(lab.directory, 'state', 'audit.log')).mode & 0o777, 0o600)
})

t.test('after a restart the node needs no token; a token is good for one node, once', async (t) => {
  const lab = await start(t)
  const token = await joinToken(lab)
  const first = link(t, lab, token)
  await first.start()
  await first.credentials()
  first.close()
  const saved = join(lab.directory, 'state-of-node-a', 'node-certificate.json')
  while (!exists(saved)) await new Promise((resolve) => setTimeout(resolve, 10))
  t.equal(statSync(saved).mode & 0o777, 0o600)
  writeFileSync(join(lab.directory, 'node-a.token'), '')
  const again = link(t, lab, null)
  await again.start()
  t.equal((await certificateOf(again, CART)).identity, CART)
  t.match(again.nodeCertificate(), { state: 'Available', renewalFailures: 0, reason: '' })
  // Somebody has copied the token.
  const thief = link(t, lab, token, 'node-x')
  await thief.start()
  await t.rejects(thief.credentials(), /status 16/)
  const audit = readFileSync(join(lab.directory, 'state', 'audit.log'), 'utf8')
  t.match(audit, /JOIN_TOKEN_REUSED/)
})

t.test('with a join token nobody follows the configuration, with nothing neither', async (t) => {
  const lab = await start(t)
  const token = await joinToken(lab)
  for (const headers of [{ authorization: `Bearer ${token}` }, {}]) {
    const rootsPem = await lab.app.authority.rootsPem()
    const client = new DiscoveryClient({
      addresses: [`localhost:${lab.app.port}`],
      node: { id: 'x', metadata: {} },
      credentials: async () => ({ connection: { rootsPem }, headers }),
      ...{ clock: systemClock, random: () => 0, log },
      onConfig: () => t.fail('was told'),
    })
    client.start()
    while (client.status().lastFailure === '') await new Promise((resolve) => setTimeout(resolve, 10))
    t.match(client.status().lastFailure, /16 /)
    client.stop()
  }
})

t.test('the key outlives the controller: a node goes on with the next one', async (t) => {
  const lab = await start(t)
  const node = link(t, lab, await joinToken(lab))
  await node.start()
  await node.credentials()
  const saved = join(lab.directory, 'state-of-node-a', 'node-certificate.json')
  while (!exists(saved)) await new Promise((resolve) => setTimeout(resolve, 10))
  await lab.app.stop()
  const alone = link(t, lab, null)
  await alone.start()
  while (alone.nodeCertificate()?.renewalFailures === 0)
    await new Promise((resolve) => setTimeout(resolve, 10))
  const status = alone.nodeCertificate()
  t.match(
    status,
    { state: 'Available', renewalFailures: 1, reason: /^CERT_UNAVAILABLE/ },
    'the saved one is used',
  )
  t.ok((status?.renewalDueMs ?? 0) < (status?.certificate?.notAfterMs ?? 0))
  const next = await start(t, SHOP, lab.directory)
  const moved = link(t, next, null)
  await moved.start()
  t.equal((await certificateOf(moved, CART)).identity, CART)
})

t.test('bad requests to admin are answered, not obeyed', async (t) => {
  const lab = await start(t)
  t.match(await lab.admin('POST', '/join-tokens', { node: 'node-a' }), { status: 400 })
  t.match(await lab.admin('POST', '/join-tokens', { node: '../x', identities: [] }), {
    body: { error: /RFC 1123/ },
  })
  t.match(await lab.admin('POST', '/join-tokens', { node: 'a', identities: ['nonsense'] }), {
    body: { error: /nonsense/ },
  })
  t.match(await lab.admin('GET', '/nothing'), { status: 404, body: { reason: 'REQUEST_INVALID' } })
  t.match(await lab.admin('POST', '/ca/rotation/advance'), {
    status: 409,
    body: { error: /ROTATION_NOT_READY/, reason: 'ROTATION_NOT_READY' },
  })
  for (const [path, body] of [
    ['/join-tokens', { node: 'a', identities: [], extra: 1 }],
    ['/join-tokens', { node: 'a', identities: [], lifetimeSeconds: 3601 }],
    ['/join-tokens', []],
    ['/ca/revocations', { serialNumber: '1' }],
    ['/ca/revocations', { serialNumber: '1', reason: 'dislike' }],
    ['/ca/rotation/advance', { force: 'maybe' }],
    ['/ca/rotation/advance', { forced: true }],
  ] as const)
    t.match(await lab.admin('POST', path, body), { status: 400, body: { reason: 'REQUEST_INVALID' } }, path)
  t.match(await lab.admin('POST', '/join-tokens', { node: 'x'.repeat(300_000), identities: [] }), {
    status: 413,
  })
  const roots = await requestUnix(join(lab.directory, 'admin.sock'), 'GET', '/ca/roots')
  t.match(roots.body, /BEGIN CERTIFICATE/)
})

interface AuditRecord {
  readonly event: string
  readonly account: string
  readonly reason: string
  readonly detail: string
  readonly serialNumber: string
  readonly identity: string
}

function auditOf(lab: Lab): readonly AuditRecord[] {
  const text = readFileSync(join(lab.directory, 'state', 'audit.log'), 'utf8')
  const lines = text.trim().split('\n')
  return lines.map((line) => JSON.parse(line) as AuditRecord) // as: our own log
}

t.test('a node whose certificate is revoked is out, and the list says why', async (t) => {
  const lab = await start(t)
  const node = link(t, lab, await joinToken(lab))
  await node.start()
  await certificateOf(node, CART)
  const { serialNumber = '' } = auditOf(lab).find(({ identity }) => identity.endsWith('/node-a')) ?? {}
  const crl = async (): Promise<string> => {
    const socket = join(lab.directory, 'admin.sock')
    writeFileSync(join(lab.directory, 'crl.pem'), (await requestUnix(socket, 'GET', '/ca/crl')).body)
    const args = ['crl', '-in', join(lab.directory, 'crl.pem'), '-noout', '-text', '-CAfile', lab.rootsFile]
    return execFileSync('openssl', args, { stdio: 'pipe' }).toString()
  }
  t.match(await crl(), /No Revoked Certificates/)
  const notAfter = new Date(Date.now() + 3_600_000).toISOString()
  const body = { serialNumber, reason: 'keyCompromise', notAfter }
  t.match(await lab.admin('POST', '/ca/revocations', body), { status: 204 })
  const hex = BigInt(serialNumber).toString(16).toUpperCase()
  t.match(await crl(), new RegExp(`Serial Number: 0?${hex}[^]*Key Compromise`))
  await t.rejects(certificateOf(node, CART), /status 16/)
  t.match(auditOf(lab).at(-1), { event: 'refused', reason: 'CERT_REVOKED' })
  for (const wrong of ['', '-1', '0x1f', '1e9', '9'.repeat(51), "1'"])
    t.match(
      await lab.admin('POST', '/ca/revocations', { ...body, serialNumber: wrong }),
      { body: { reason: 'CERT_INVALID' } },
      wrong,
    )
  t.match(await lab.admin('POST', '/ca/revocations', { ...body, notAfter: 'soon' }), {
    ...{ status: 400, body: { reason: 'CONFIG_INVALID' } },
  })
})

t.test('every change through admin is written down, also one that failed', async (t) => {
  const lab = await start(t)
  const node = link(t, lab, await joinToken(lab))
  await node.start()
  await node.credentials()
  const { body } = await lab.admin('GET', '/join-tokens')
  const [{ id = '' } = {}] = body as { id: string }[] // as: the route's answer
  await lab.admin('DELETE', `/join-tokens/${id}`)
  await lab.admin('POST', '/join-tokens', { node: '../x', identities: [] })
  await lab.admin('POST', '/ca/revocations', { serialNumber: '17', reason: 'superseded' })
  await lab.admin('POST', '/ca/rotation/begin')
  await lab.admin('POST', '/ca/rotation/begin')
  await lab.admin('POST', '/ca/rotation/advance')
  await lab.admin('POST', '/ca/rotation/advance', { force: true })
  await lab.admin('POST', '/ca/rotation/cancel')
  t.match((await lab.admin('GET', '/ca/rotation')).body, { phase: 'steady' })
  const changes = auditOf(lab).filter(({ account }) => account === 'admin')
  const seen = changes.map(({ event, account, reason }) => `${account} ${event} ${reason}`)
  t.same(seen, [
    'admin join-token-made OK',
    'admin join-token-revoked OK',
    'admin join-token-made CONFIG_INVALID',
    'admin certificate-revoked OK',
    'admin rotation-begun OK',
    'admin rotation-begun ROTATION_NOT_READY',
    'admin rotation-advanced ROTATION_NOT_READY',
    'admin rotation-advanced ROTATION_NOT_READY',
    'admin rotation-cancelled OK',
  ])
  const details = changes.map(({ detail }) => detail)
  t.equal(details[0], `${id} for node node-a`)
  t.match(details[7], /^forced: /)
  const text = readFileSync(join(lab.directory, 'state', 'audit.log'), 'utf8')
  t.notMatch(text, /sidestep-join\./, 'no secret')
})

t.test(
  'force is the word that every node has the new root; it does not shorten the second wait',
  async (t) => {
    const lab = await start(t)
    const node = link(t, lab, await joinToken(lab))
    await node.start()
    await certificateOf(node, CART)
    await lab.admin('POST', '/ca/rotation/begin')
    // Not within the time all replicas need to hear of it, whoever vouches.
    t.match(await lab.admin('POST', '/ca/rotation/advance', { force: true }), {
      ...{ status: 409, body: { error: /not every node has the new root until/ } },
    })
    lab.clock.advance(180_000)
    t.match(await lab.admin('POST', '/ca/rotation/advance'), {
      ...{ status: 409, body: { error: /not every node has the new root until/ } },
    })
    t.match(await lab.admin('POST', '/ca/rotation/advance', { force: true }), {
      ...{ status: 200, body: { phase: 'switched' } },
    })
    lab.clock.advance(180_000)
    t.match(await lab.admin('POST', '/ca/rotation/advance', { force: true }), {
      ...{ status: 409, body: { error: /leaves of the old root are valid until/ } },
    })
  },
)

t.test('a controller on a directory leads, alone', async (t) => {
  const lab = await start(t)
  t.match(await lab.admin('GET', '/leader'), { status: 200, body: { isLeader: true, fence: 'sole' } })
  t.match(await lab.admin('GET', '/status'), { status: 400, body: { reason: 'REQUEST_INVALID' } })
  t.match(await lab.admin('GET', '/provision'), { status: 400, body: { reason: 'REQUEST_INVALID' } })
})

function exists(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}
