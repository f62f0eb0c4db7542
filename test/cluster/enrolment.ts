// SPDX-License-Identifier: Apache-2.0
// Two nodes enrol their pods by the labels of a real apiserver, while the pods run, with exactly the rights of
// ztunnel/rbac.yaml. The nodes have no kubelet: a process in a control group named as a kubelet would stands for a container.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { isMap, mapOf, own, textOf } from '../../mesh/kubernetes/raw-map.ts'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { listenIn } from '../support/lab.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'

const RBAC = new URL('../../ztunnel/rbac.yaml', import.meta.url)
const SHOP = 'shop'
const LABEL = 'sidestep.dev/mode'
const ANNOTATION = 'ambient.istio.io/redirection'
const IPS = { front: '10.1.0.1', batch: '10.1.0.2', cart: '10.2.0.1' } as const
const CART_IP = IPS.cart
const GREETER_PORT = 9001
const HTTP_PORT = 8080
const PROBE_IP = '169.254.7.127'
const API_PORT = 6443
/** A damaged redirection is mended within this. */
const MENDED_MS = 15_000
/** From the start of the processes to the first greeting; most of it is the start of two runtimes. */
const COLD_START_MS = 10_000
/** A running pod should be in the mesh within 2 s; what it took is told, and only a defect takes this long. */
const ENROLLED_MS = 15_000
const PODS: Readonly<Record<Exclude<LabPod, 'stranger'>, LabNode>> = { front: 'n1', batch: 'n1', cart: 'n2' }
const NAMES = ['front', 'batch', 'cart'] as const

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open({ kinds: false })
t.teardown(() => cluster.close())
const directory = mkdtempSync(join(tmpdir(), 'sidestep-enrol-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
await cluster.apply(await readFile(RBAC, 'utf8'))
const token = await cluster.kubectl('-n', 'istio-system', 'create', 'token', 'ztunnel')
writeFileSync(join(directory, 'token'), token, { mode: 0o600 })
const behind = cluster.load().getCurrentCluster()
writeFileSync(join(directory, 'ca.crt'), readFileSync(behind?.caFile ?? ''))
await cluster.kubectl('create', 'namespace', SHOP)
for (const name of ['n1', 'n2'])
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name } }))

const lab = await MeshLab.start(labDirectory(t), labMesh(['batch']), {}, async (lab) => {
  for (const name of ['n1', 'n2'] as const) forwardFrom(lab, name)
  const options = {
    SIDESTEP_ENROLMENT_FILE: '',
    SIDESTEP_KUBERNETES_ENROLMENT: 'true',
    KUBERNETES_SERVICE_HOST: '127.0.0.1',
    KUBERNETES_SERVICE_PORT: String(API_PORT),
    SIDESTEP_SERVICE_ACCOUNT_DIRECTORY: directory,
    SIDESTEP_HOST_NETWORK_PATH: '/proc/self/ns/net', // a node is a namespace here
  }
  return { n1: options, n2: options }
})
t.teardown(() => lab.close())

/** The nodes of the network reach nothing outside of it: what they ask on loopback is carried to the apiserver. */
function forwardFrom(lab: MeshLab, name: LabNode): void {
  const { hostname, port } = new URL(behind?.server ?? '')
  const server = createServer((from) => {
    const to = connect(Number(port), hostname)
    from.on('error', () => to.destroy()).on('close', () => to.destroy())
    to.on('error', () => from.destroy()).on('close', () => from.destroy())
    from.on('data', (chunk) => to.write(chunk))
    to.on('data', (chunk) => from.write(chunk))
  })
  server.listen({ fd: listenIn(lab.network.node(name).namespace, API_PORT) })
  t.teardown(() => server.close())
}

const podPath = (name: string): string => `/api/v1/namespaces/${SHOP}/pods/${name}`
const inTime = (): AbortSignal => AbortSignal.timeout(10_000)

async function read(name: LabPod) {
  const pod = await cluster.admin().getJson(podPath(name), {}, inTime())
  if (!isMap(pod)) throw new Error('no pod')
  const metadata = mapOf(pod, 'metadata')
  return {
    uid: textOf(metadata, 'uid'),
    redirection: own(mapOf(metadata, 'annotations'), ANNOTATION) ?? null,
  }
}

async function eventsOf(name: LabPod): Promise<string> {
  const form = 'jsonpath={range .items[*]}{.reason} {.message}{"\\n"}{end}'
  const filter = ['--field-selector', `involvedObject.name=${name}`]
  return await cluster.kubectl('-n', SHOP, 'get', 'events', ...filter, '-o', form)
}

async function runPod(name: Exclude<LabPod, 'stranger'>): Promise<void> {
  const metadata = { name, namespace: SHOP, labels: { app: name } }
  const containers = [{ name: 'main', image: 'none' }]
  const spec = { serviceAccountName: name, nodeName: PODS[name], containers }
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec }))
  const status = { phase: 'Running', podIP: IPS[name], podIPs: [{ ip: IPS[name] }] }
  await cluster.admin().merge(`${podPath(name)}/status`, { status }, inTime())
  const { uid } = await read(name)
  t.teardown(enterCgroup(lab.pidOf(name), `kubepods/burstable/pod${uid}/c1`))
}

/** Tables, policy rules and listeners of the pod, in the words of others. */
const traces = (name: LabPod): string =>
  lab.namespaceOf(name).run(() => {
    const command = 'nft list tables; ip rule; ip -6 rule; ip route show table 100; ss -Hltn sport ge 15000'
    return spawnSync('sh', ['-c', command], { encoding: 'utf8' }).stdout
  })
const isRedirected = (name: LabPod): boolean => /sidestep-nat/.test(traces(name))

async function answer(pod: LabPod): Promise<string> {
  const socket = lab.connect(pod, CART_IP, GREETER_PORT)
  await socket.until('an answer', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  const { text } = socket
  socket.destroy()
  return text
}

async function until(names: readonly LabPod[], redirection: string | null, deadlineMs = 15_000) {
  const startedMs = performance.now()
  const isSo = async () =>
    (await Promise.all(names.map(read))).every((pod) => pod.redirection === redirection)
  await poll(`${names} ${redirection}`, async () => (await isSo()) || null, deadlineMs).catch(
    (error: Error) => {
      throw new Error(`${error.message}\n${lab.log('n1')}`)
    },
  )
  return performance.now() - startedMs
}

for (const name of ['front', 'batch', 'cart'])
  await cluster.kubectl('-n', SHOP, 'create', 'serviceaccount', name)
/** What the application of cart says of who asks from the node itself, as its kubelet would. */
const probe = (): string => onNode('n2', `curl -sS -m 3 http://${CART_IP}:${HTTP_PORT}/ 2>&1`)
const onNode = (name: LabNode, command: string): string =>
  lab.network.node(name).namespace.run(() => spawnSync('sh', ['-c', command], { encoding: 'utf8' }).stdout)

const untouched = new Map(NAMES.map((name) => [name, traces(name)]))
for (const name of NAMES) await runPod(name)

t.test('a label enrols running pods, and says so', async (t) => {
  for (const name of NAMES) t.equal(isRedirected(name), false)
  await cluster.kubectl('label', 'namespace', SHOP, `${LABEL}=ambient`)
  const tookMs = await until(NAMES, 'enabled')
  t.comment(`enrolled after ${tookMs} ms`)
  t.ok(tookMs < ENROLLED_MS)
  for (const name of NAMES) t.match(traces(name), /sidestep-nat[\s\S]*:15008/)
  t.equal(await answer('front'), '220 cart\r\n')
  t.equal(await answer('batch'), '', 'refused by identity: there is a tunnel')
  t.match(probe(), PROBE_IP, 'a probe of the kubelet reaches the application')
  t.match(onNode('n1', 'nft list ruleset'), `${IPS.front}, ${IPS.batch}`)
})

t.test('the apiserver is away: nothing changes', async (t) => {
  const before = NAMES.map(traces)
  await cluster.kill('kube-apiserver')
  await poll('it is missed', () => /apiserver does not answer/.test(lab.log('n1')) || null)
  t.equal(await answer('front'), '220 cart\r\n')
  t.same(NAMES.map(traces), before)
  await cluster.start('kube-apiserver')
  t.ok(await until(NAMES, 'enabled'))
  t.same(NAMES.map(traces), before)
})

t.test(
  'a supervisor that starts while the apiserver is away serves the pods it was told of last',
  async (t) => {
    const saved = join(lab.directory, 'state-n1', 'pods.sealed')
    await poll(
      'the list is saved',
      () => (existsSync(saved) && readFileSync(saved, 'latin1').includes('batch')) || null,
    )
    await cluster.kill('kube-apiserver')
    await lab.kill('n1')
    const startedMs = performance.now()
    await lab.restart('n1')
    await poll('front is greeted', async () => (await answer('front')) === '220 cart\r\n' || null)
    const tookMs = performance.now() - startedMs
    t.comment(`greeted after ${Math.round(tookMs)} ms`)
    t.ok(tookMs < COLD_START_MS)
    t.equal(await answer('batch'), '', 'refused by identity: there is a tunnel')
    t.match(lab.log('n1'), /"pods":2,"msg":"pods of an earlier run/)
    await cluster.start('kube-apiserver')
    await until(NAMES, 'enabled')
    await poll('the apiserver is heard', () => /the apiserver answers/.test(lab.log('n1')) || null)
    t.equal(await answer('front'), '220 cart\r\n')
  },
)

t.test(
  'a pod that was deleted, and one that left, while nobody looked are out when the apiserver is heard',
  async () => {
    await lab.kill('n1')
    await cluster.kubectl('-n', SHOP, 'label', 'pod', 'batch', `${LABEL}=none`)
    await cluster.kubectl('-n', SHOP, 'delete', 'pod', 'front', '--grace-period=0', '--force')
    await lab.restart('n1')
    for (const name of ['front', 'batch'] as const)
      await poll(`${name} is as it was`, () => traces(name) === untouched.get(name) || null)
    await cluster.kubectl('-n', SHOP, 'label', 'pod', 'batch', `${LABEL}-`)
    await runPod('front')
    await until(NAMES, 'enabled')
  },
)

t.test('a supervisor that is replaced takes its pods out and in again', async (t) => {
  await lab.stop('n1')
  t.equal((await read('front')).redirection, null)
  t.equal((await read('cart')).redirection, 'enabled')
  t.equal(isRedirected('front'), false)
  await lab.restart('n1')
  await until(NAMES, 'enabled')
  t.equal(await answer('front'), '220 cart\r\n')
})

t.test(
  'a supervisor that was killed finds its pods again, and what was left of one that is not its own',
  async (t) => {
    await lab.kill('n1')
    t.ok(isRedirected('front'), 'nothing goes out in plain text meanwhile')
    await cluster.kubectl('-n', SHOP, 'label', 'pod', 'batch', `${LABEL}=none`)
    await lab.restart('n1')
    await poll('front is greeted', async () => (await answer('front')) === '220 cart\r\n' || null)
    await until(['front'], 'enabled')
    await until(['batch'], null)
    await poll('its namespace is as it was', () => traces('batch') === untouched.get('batch') || null)
    await cluster.kubectl('-n', SHOP, 'label', 'pod', 'batch', `${LABEL}-`)
    await until(NAMES, 'enabled')
  },
)

t.test('a pod that has ended is not told as enrolled any more', async () => {
  const phase = async (name: string): Promise<void> => {
    const patch = JSON.stringify({ status: { phase: name } })
    await cluster.kubectl('-n', SHOP, 'patch', 'pod', 'batch', '--subresource=status', '-p', patch)
  }
  await phase('Succeeded')
  await until(['batch'], null)
  await phase('Running')
  await until(NAMES, 'enabled')
})

t.test('rules that somebody flushes are there again within fifteen seconds, and it is told', async (t) => {
  const whole = traces('front')
  const startedMs = performance.now()
  lab.namespaceOf('front').run(() => spawnSync('nft', ['flush', 'ruleset']))
  // They may be there again before anybody could see that they were gone: the log says it.
  await poll('it is told', () => /NOT_ENROLLED.*table sidestep-mangle is gone/.test(lab.log('n1')) || null)
  await poll('front is redirected', () => traces('front') === whole || null, MENDED_MS)
  t.ok(performance.now() - startedMs < MENDED_MS)
  await poll('it is counted', async () => {
    const { text } = await lab.admin('n1', '/metrics')
    return /^sidestep_redirections_mended_total 1$/m.test(text) || null
  })
  const message = await poll('an Event of the pod', async () => (await eventsOf('front')) || null)
  t.match(message, /^RedirectionMended NOT_ENROLLED: table sidestep-mangle is gone/)
  t.equal(await answer('front'), '220 cart\r\n')
})

t.test('the word of a pod counts before its namespace’s', async (t) => {
  await cluster.kubectl('-n', SHOP, 'label', 'pod', 'batch', `${LABEL}=none`)
  await until(['batch'], null)
  await poll('its namespace is as it was', () => traces('batch') === untouched.get('batch') || null)
  t.equal(await answer('batch'), '220 cart\r\n', 'anybody, in plain text')
  t.equal((await read('front')).redirection, 'enabled')
})

t.test('a pod that is deleted goes out at once, others stay', async (t) => {
  await cluster.kubectl('-n', SHOP, 'delete', 'pod', 'front', '--grace-period=0', '--force')
  await poll('its namespace is as it was', () => traces('front') === untouched.get('front') || null)
  t.ok(isRedirected('cart'))
  await runPod('front')
  await until(['front'], 'enabled')
})

t.test('without the label everything is as it was', async (t) => {
  await cluster.kubectl('label', 'namespace', SHOP, `${LABEL}-`)
  await until(NAMES, null)
  for (const name of NAMES)
    await poll(`${name} is as it was`, () => traces(name) === untouched.get(name) || null)
  t.equal(await answer('front'), '220 cart\r\n')
  t.notMatch(probe(), PROBE_IP)
  for (const name of ['n1', 'n2'] as const) t.equal(onNode(name, 'nft list ruleset'), '', 'nothing is left')
})
