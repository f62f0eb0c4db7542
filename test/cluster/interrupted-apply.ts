// SPDX-License-Identifier: Apache-2.0
// `kubectl apply -f daemonset.yaml` that stopped half-way, on a real apiserver: accounts without rights, controllers and
// ztunnels without each other, no kinds of Istio or of the Gateway API. Who waits says for what, pods are let alone, the
// next apply completes it without hands; and one that takes rights away from a mesh that runs opens nothing that was closed.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { ControllerReplica } from '../support/controller-replica.ts'
import { listenIn } from '../support/lab.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'

const SYSTEM = 'istio-system'
const SHOP = 'shop'
const IPS = { front: '10.1.0.1', batch: '10.1.0.2' } as const
const [API_PORT, CONTROLLER_PORT, GREETER_PORT] = [6443, 15_012, 9001]
const GREETING = '220 cart\r\n'
/** The longest pause of whoever was refused, and some. */
const COMPLETE_MS = 60_000
const documents = (await readFile(new URL('../../daemonset.yaml', import.meta.url), 'utf8')).split(/^---$/m)
const ofKind = (...kinds: readonly string[]): string =>
  documents.filter((text) => kinds.includes(/^kind: (\w+)$/m.exec(text)?.[1] ?? '')).join('---\n')

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open({ kinds: false })
t.teardown(() => cluster.close())
const directory = mkdtempSync(join(tmpdir(), 'sidestep-apply-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const account = join(directory, 'account')
const [rootsFile, tokenFile] = [join(directory, 'roots.pem'), join(directory, 'token')]

// What every apply that stopped has in common; the namespace alone has nothing that could run.
await cluster.apply(ofKind('Namespace'))
await cluster.apply(ofKind('ServiceAccount'))
for (const name of ['n1', 'n2'])
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name } }))
await cluster.kubectl('create', 'namespace', SHOP)
await cluster.kubectl('label', 'namespace', SHOP, 'sidestep.dev/mode=ambient')

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: TCP
  server.close()
  return port
}

/** A pod on a node without kubelet, which a patch of its status makes run; its uid. */
async function runPod(
  namespace: string,
  name: string,
  serviceAccountName: string,
  ip: string,
): Promise<string> {
  const spec = { serviceAccountName, nodeName: 'n1', containers: [{ name: 'main', image: 'none' }] }
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec }))
  const conditions = [{ type: 'Ready', status: 'True' }]
  const status = { phase: 'Running', podIP: ip, podIPs: [{ ip }], conditions }
  const signal = AbortSignal.timeout(10_000)
  await cluster.admin().merge(`/api/v1/namespaces/${namespace}/pods/${name}/status`, { status }, signal)
  return await cluster.kubectl('-n', namespace, 'get', 'pod', name, '-o', 'jsonpath={.metadata.uid}')
}

const kubeconfigFile = join(directory, 'kubeconfig')
const token = await cluster.kubectl('-n', SYSTEM, 'create', 'token', 'sidestep-controller')
writeFileSync(kubeconfigFile, cluster.loadWithToken(token.trim()).exportConfig(), { mode: 0o600 })
const statusPort = await freePort()
const controller = new ControllerReplica([
  ...['--config-source', 'kubernetes', '--kubeconfig-file', kubeconfigFile],
  ...['--status-port', String(statusPort)],
])
t.teardown(() => controller.close())
// It serves when it may: what it waits for is looked at meanwhile.
controller.start().catch(() => {})

mkdirSync(account)
const behind = cluster.load().getCurrentCluster()
writeFileSync(join(account, 'ca.crt'), readFileSync(behind?.caFile ?? ''))
writeFileSync(join(account, 'token'), await cluster.kubectl('-n', SYSTEM, 'create', 'token', 'ztunnel'))
await runPod(SYSTEM, 'ztunnel-n1', 'ztunnel', '10.9.0.1')
const bound = ['--bound-object-kind=Pod', '--bound-object-name=ztunnel-n1', '--audience=istio-ca']
writeFileSync(tokenFile, await cluster.kubectl('-n', SYSTEM, 'create', 'token', 'ztunnel', ...bound))

const lab = await MeshLab.start(labDirectory(t), labMesh([]), {}, async (started) => {
  started.serving = ['batch']
  started.enrolled = { n1: [], n2: [] }
  forward(started, API_PORT, () => new URL(behind?.server ?? ''))
  forward(started, CONTROLLER_PORT, () => new URL(`http://${controller.address}`))
  return { n1: {}, n2: {} }
})
t.teardown(() => lab.close())
for (const [name, ip] of Object.entries(IPS)) {
  await cluster.kubectl('-n', SHOP, 'create', 'serviceaccount', name)
  const uid = await runPod(SHOP, name, name, ip)
  t.teardown(enterCgroup(lab.pidOf(name as LabPod), `kubepods/burstable/pod${uid}/c1`)) // as: keys of IPS
}

/** The node reaches nothing outside of its network: what it asks on loopback is carried on. */
function forward({ network }: MeshLab, port: number, target: () => URL): void {
  const server = createServer((from) => {
    const to = connect(Number(target().port), target().hostname)
    from.on('error', () => to.destroy()).on('close', () => to.destroy())
    to.on('error', () => from.destroy()).on('close', () => from.destroy())
    from.on('data', (chunk) => to.write(chunk))
    to.on('data', (chunk) => from.write(chunk))
  })
  server.listen({ fd: listenIn(network.node('n1').namespace, port) })
  t.teardown(() => server.close())
}

const ZTUNNEL = {
  SIDESTEP_ENROLMENT_FILE: '',
  SIDESTEP_CONFIG_FILE: '',
  SIDESTEP_CA_DIRECTORY: '',
  SIDESTEP_KUBERNETES_ENROLMENT: 'true',
  KUBERNETES_SERVICE_HOST: '127.0.0.1',
  KUBERNETES_SERVICE_PORT: String(API_PORT),
  SIDESTEP_SERVICE_ACCOUNT_DIRECTORY: account,
  SIDESTEP_HOST_NETWORK_PATH: '/proc/self/ns/net', // a node is a namespace here
  SIDESTEP_CONTROLLER_ADDRESSES: `localhost:${CONTROLLER_PORT}`,
  SIDESTEP_CONTROLLER_ROOTS: rootsFile,
  SIDESTEP_CONTROLLER_TOKEN: tokenFile,
}

const tablesOf = (pod: LabPod): string =>
  lab.namespaceOf(pod).run(() => spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout)
async function call(from: LabPod): Promise<string> {
  const socket = lab.connect(from, IPS.batch, GREETER_PORT)
  await socket.until('an answer', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  const { text, error } = socket
  socket.destroy()
  return text || error
}
async function isTunnelled(): Promise<boolean> {
  const known = (await lab.records('n1')).length
  if ((await call('front')) !== GREETING) return false
  const records = (await lab.records('n1')).slice(known)
  return records.some(({ transport, reason }) => transport === 'HBONE' && reason === 'OK')
}
const KINDS: Readonly<Record<string, string>> = {
  clusterrolebinding: 'ClusterRoleBinding',
  rolebinding: 'RoleBinding',
}
const wholeLog = (): string => readFileSync(join(lab.directory, 'n1.log'), 'utf8')
function write(name: string, text: string): string {
  writeFileSync(join(directory, name), text)
  return join(directory, name)
}
/** What the kubelet does with the ConfigMap that ztunnels mount. */
async function mountRoots(): Promise<true | null> {
  const form = 'jsonpath={.data.root-cert\\.pem}'
  const pem = await cluster
    .kubectl('-n', SYSTEM, 'get', 'configmap', 'istio-ca-root-cert', '-o', form)
    .catch(() => '')
  if (pem === '') return null
  writeFileSync(rootsFile, pem)
  return true
}

t.test('a controller without rights is not ready, and says what it may not', async (t) => {
  const told = await poll('it says so', async () => {
    const answer = await fetch(`http://127.0.0.1:${statusPort}/ready`).catch(() => null)
    return answer === null ? null : { status: answer.status, text: await answer.text() }
  })
  t.equal(told.status, 503)
  t.match(told.text, /APISERVER_DENIED: cannot read Secret istio-system\/sidestep-ca: 403/)
  t.match(controller.log, '"reason":"APISERVER_DENIED"')
  t.equal((await fetch(`http://127.0.0.1:${statusPort}/metrics`)).status, 200, 'it lives')
  t.equal(await call('front'), GREETING)
})

t.test('a ztunnel without rights and without controller is not ready, and lets pods alone', async (t) => {
  lab.restart('n1', ZTUNNEL).catch(() => {}) // it is not ready in time, as it should be
  const told = await poll('it says so', async () => {
    const answer = await lab.admin('n1', '/ready').catch(() => null)
    return answer !== null && /configuration \(/.test(answer.text) ? answer : null
  })
  t.not(told.status, 200)
  t.match(told.text, /configuration \(CERT_UNAVAILABLE: .*roots\.pem is unreadable/)
  await poll('and what it may not', () => /"reason":"APISERVER_DENIED"/.test(wholeLog()) || null)
  t.match(wholeLog(), /403 pods is forbidden/)
  t.equal(await call('front'), GREETING)
  t.equal(tablesOf('front') + tablesOf('batch'), '')
})

t.test('the next apply completes it', async (t) => {
  await cluster.apply(documents.join('---\n'))
  const startMs = performance.now()
  const passed = (): string => `${Math.round(performance.now() - startMs)} ms`
  await controller.knowsPort()
  await controller.ready()
  t.comment(`controller ready after ${passed()}`)
  await poll('the roots', mountRoots, COMPLETE_MS)
  await poll('a tunnel', async () => (await isTunnelled()) || null, COMPLETE_MS)
  t.comment(`a tunnel after ${passed()}`)
  t.ok(await poll('front is enrolled', () => /sidestep-nat/.test(tablesOf('front')) || null))
})

const isRefused = async (): Promise<boolean> => (await call('stranger')) !== GREETING

t.test('kinds that are installed later are read, without a restart', async (t) => {
  t.same(
    (await controller.ask<{ findings: unknown[] }>('/findings'))?.findings,
    [],
    'that there are none is no mistake',
  )
  await cluster.installKinds()
  await cluster.apply(
    JSON.stringify({
      ...{ apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication' },
      metadata: { name: 'strict', namespace: SHOP },
      spec: { mtls: { mode: 'STRICT' } },
    }),
  )
  await poll('batch is strict', async () => (await isRefused()) || null, COMPLETE_MS)
})

t.test('an apply that takes the rights away again opens nothing that was closed', async (t) => {
  for (const kind of ['clusterrolebinding', 'rolebinding'])
    await cluster.kubectl('delete', '-f', write(`${kind}.yaml`, ofKind(KINDS[kind] ?? '')))
  await controller.kill()
  await lab.kill('n1')
  t.ok(await isRefused(), 'while no process is there')
  await lab.revive('n1')
  await lab.ready('n1')
  t.equal(await call('front'), GREETING, 'by what was saved')
  t.ok(await isRefused(), 'by what was saved')
  controller.start().catch(() => {}) // it waits
  t.ok(await isRefused())
  await cluster.apply(documents.join('---\n'))
  await controller.ready()
  t.equal(await call('front'), GREETING)
  t.ok(await isRefused())
  await cluster.kubectl('-n', SHOP, 'delete', 'peerauthentication', 'strict')
  await poll('what is changed now arrives', async () => ((await isRefused()) ? null : true), COMPLETE_MS)
})
