// SPDX-License-Identifier: Apache-2.0
// Two controllers on a real apiserver, with the rights of rbac.yaml, and two nodes that show tokens of their ztunnel's
// pods: configuration in, discovery and certificates out, whatever goes away meanwhile.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { ControllerReplica } from '../support/controller-replica.ts'
import { followControllers } from '../support/following-node.ts'
import { poll } from '../support/mesh-lab.ts'
import { requestUnix } from '../support/unix-http.ts'

const RBAC = fileURLToPath(new URL('../../controller/rbac.yaml', import.meta.url))
const SYSTEM = 'istio-system'
/** Promised are 5 s; what it took is told, and only a defect takes this long. */
const FAILOVER_MS = 20_000

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open()
t.teardown(() => cluster.close())
const directory = mkdtempSync(join(tmpdir(), 'sidestep-k8s-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

await cluster.apply(await readFile(RBAC, 'utf8'))
const kubeconfigFile = join(directory, 'kubeconfig')
const controllerToken = await cluster.kubectl('-n', SYSTEM, 'create', 'token', 'sidestep-controller')
writeFileSync(kubeconfigFile, cluster.loadWithToken(controllerToken.trim()).exportConfig(), { mode: 0o600 })

const shop = await cluster.createNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' })
const identityOf = (account: string): string => `spiffe://cluster.local/ns/${shop}/sa/${account}`

/** A pod on a node without kubelet, which a patch of its status makes run. */
async function runPod(namespace: string, name: string, account: string, node: string, ip: string) {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: account } },
    spec: { serviceAccountName: account, nodeName: node, containers: [{ name: 'main', image: 'none' }] },
  }
  await cluster.apply(JSON.stringify(pod))
  const status = {
    phase: 'Running',
    podIP: ip,
    podIPs: [{ ip }],
    conditions: [{ type: 'Ready', status: 'True' }],
  }
  const path = `/api/v1/namespaces/${namespace}/pods/${name}/status`
  // In the mesh, as the agent of the node says.
  const metadata = namespace === shop ? { annotations: { 'ambient.istio.io/redirection': 'enabled' } } : {}
  await cluster.admin().merge(path, { metadata, status }, AbortSignal.timeout(10_000))
}

for (const name of ['node-a', 'node-b'])
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name } }))
await cluster.kubectl('-n', SYSTEM, 'create', 'serviceaccount', 'ztunnel')
for (const account of ['cart', 'front'])
  await cluster.kubectl('-n', shop, 'create', 'serviceaccount', account)
await runPod(SYSTEM, 'ztunnel-a', 'ztunnel', 'node-a', '10.9.0.1')
await runPod(SYSTEM, 'ztunnel-b', 'ztunnel', 'node-b', '10.9.1.1')
await runPod(shop, 'cart-1', 'cart', 'node-a', '10.9.0.2')
await runPod(shop, 'front-1', 'front', 'node-b', '10.9.1.2')

const replicas = ['a', 'b'].map(
  () => new ControllerReplica(['--config-source', 'kubernetes', '--kubeconfig-file', kubeconfigFile]),
)
for (const replica of replicas) t.teardown(() => replica.close())
await Promise.all(replicas.map((replica) => replica.start()))
await Promise.all(replicas.map((replica) => replica.ready()))
const [a, b] = replicas
if (a === undefined || b === undefined) throw new Error('two replicas')
const rootsFile = join(directory, 'roots.pem')
writeFileSync(rootsFile, (await requestUnix(a.socket, 'GET', '/ca/server-roots')).body)

async function openNode(name: 'node-a' | 'node-b', first: ControllerReplica) {
  const tokenFile = join(directory, `${name}.token`)
  const pod = name === 'node-a' ? 'ztunnel-a' : 'ztunnel-b'
  const bound = ['--bound-object-kind=Pod', `--bound-object-name=${pod}`, '--audience=istio-ca']
  writeFileSync(tokenFile, await cluster.kubectl('-n', SYSTEM, 'create', 'token', 'ztunnel', ...bound))
  const addresses = [first, ...replicas.filter((each) => each !== first)].map(({ address }) => address)
  return await followControllers(t, { name, addresses, rootsFile, tokenFile, directory })
}

const nodeA = await openNode('node-a', a)
const nodeB = await openNode('node-b', b)
const hasWorkload =
  (name: string) =>
  ({ workloads }: { readonly workloads: readonly { readonly name: string }[] }): boolean =>
    workloads.some((each) => each.name === name)

t.test('what is in the cluster is what nodes know', async (t) => {
  for (const node of [nodeA, nodeB]) {
    await node.sees('the pods', (config) => hasWorkload('cart-1')(config) && hasWorkload('front-1')(config))
    const cart = node.last()?.workloads.find(({ name }) => name === 'cart-1')
    t.match(cart, { namespace: shop, serviceAccount: 'cart', node: 'node-a' })
  }
  await cluster.kubectl('-n', shop, 'create', 'service', 'clusterip', 'cart', '--tcp=80:8080')
  await nodeB.sees('the service', ({ services }) => services.some(({ name }) => name === 'cart'))
  await cluster.apply(
    JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'close', namespace: shop },
      spec: { action: 'DENY', rules: [{ to: [{ operation: { ports: ['8080'] } }] }] },
    }),
  )
  await nodeA.sees('the policy', ({ policies }) => policies.some(({ name }) => name === 'close'))
  await cluster.kubectl(
    ...['-n', shop, 'wait', 'authorizationpolicy/close', '--timeout=20s'],
    '--for=condition=sidestep.dev/Enforced',
  )
  interface Told {
    readonly isRunning: boolean
    readonly failures: readonly unknown[]
  }
  const told = await Promise.all(replicas.map((each) => each.ask<Told>('/status')))
  t.same(told.map((each) => each?.isRunning).toSorted(), [false, true], 'one of them writes statuses')
  t.same(
    told.map((each) => each?.failures),
    [[], []],
  )
})

t.test(
  'a node gets certificates for what runs on it, from either replica, and for nothing else',
  async (t) => {
    t.equal((await nodeA.sign(identityOf('cart'))).identity, identityOf('cart'))
    t.equal((await nodeB.sign(identityOf('front'))).identity, identityOf('front'))
    await t.rejects(nodeA.sign(identityOf('front')), /IDENTITY_REFUSED|status 7/)
    t.match(a.audit, /"account":"istio-system\/ztunnel".*"node":"node-a".*"signed"|"signed".*"node":"node-a"/)
    const [rootsA, rootsB] = await Promise.all(
      replicas.map(async ({ socket }) => (await requestUnix(socket, 'GET', '/ca/roots')).body),
    )
    t.equal(rootsA, rootsB, 'one root, in a Secret')
  },
)

t.test('the leader is killed: the other leads within 5 s, its node moves over, changes flow', async (t) => {
  const { leader, other } = await poll('a leader', async () => {
    if ((await a.leadership()).isLeader) return { leader: a, other: b }
    return (await b.leadership()).isLeader ? { leader: b, other: a } : null
  })
  const killedMs = performance.now()
  await leader.kill()
  await poll('the other leads', async () => (await other.leadership()).isLeader || null)
  const tookMs = Math.round(performance.now() - killedMs)
  t.comment(`another leads after ${tookMs} ms`)
  t.ok(tookMs < FAILOVER_MS)
  await runPod(shop, 'cart-2', 'cart', 'node-b', '10.9.1.3')
  await Promise.all([nodeA, nodeB].map((node) => node.sees('the new pod', hasWorkload('cart-2'))))
  t.equal(
    (await poll('node-b may have it now', () => nodeB.sign(identityOf('cart')).catch(() => null))).identity,
    identityOf('cart'),
  )
  await leader.start()
  await leader.ready()
})

t.test('the apiserver is away: what is known is served, what was signed before stays valid', async (t) => {
  await cluster.kill('kube-apiserver')
  for (const replica of replicas) {
    await poll('the apiserver is missed', async () => {
      const source = await replica.ask<{ unreachable: string | null }>('/source')
      return source?.unreachable ?? null
    })
    t.ok(await replica.ask('/ready'), 'still ready')
    await poll('nobody leads', async () => !(await replica.leadership()).isLeader || null)
  }
  t.ok(hasWorkload('cart-1')(nodeA.last() ?? { workloads: [] }))
  t.equal(nodeA.client.status().isConnected, true, 'streams stay')
  // A token can be believed only by the apiserver: the node is told to come again, not that it is nobody.
  await new Promise((resolve) => setTimeout(resolve, 10_500)) // longer than a review is remembered
  await t.rejects(nodeA.sign(identityOf('cart')), /status 14/)
  await cluster.start('kube-apiserver')
  await poll('a leader again', async () =>
    (await a.leadership()).isLeader || (await b.leadership()).isLeader ? true : null,
  )
  await runPod(shop, 'cart-3', 'cart', 'node-a', '10.9.0.3')
  await Promise.all([nodeA, nodeB].map((node) => node.sees('the pod of afterwards', hasWorkload('cart-3'))))
  t.equal((await nodeA.sign(identityOf('cart'))).identity, identityOf('cart'))
})

t.test(
  'a machine outside the cluster joins by a token, which is kept in a Secret and works once',
  async (t) => {
    const tokenFile = join(directory, 'vm.token')
    const identity = identityOf('vm')
    writeFileSync(tokenFile, await a.joinToken('vm-1', [identity]))
    const addresses = [b.address, a.address]
    const vm = await followControllers(t, { name: 'vm-1', addresses, rootsFile, tokenFile, directory })
    await vm.sees('the mesh', hasWorkload('cart-1'))
    t.equal((await vm.sign(identity)).identity, identity)
    await t.rejects(vm.sign(identityOf('cart')), /IDENTITY_REFUSED|status 7/)
    const secret = await cluster.kubectl('-n', SYSTEM, 'get', 'secret', 'sidestep-join-tokens', '-o', 'json')
    const text = Buffer.from(JSON.parse(secret).data['join-tokens'], 'base64').toString()
    t.match(text, 'vm-1')
    t.notMatch(text, (await readFile(tokenFile, 'utf8')).trim().split('.')[2] ?? 'x', 'the secret is nowhere')
  },
)
