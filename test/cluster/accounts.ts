// SPDX-License-Identifier: Apache-2.0
// What a controller with the rights of rbac.yaml, and no others, sees of a real cluster: every kind it watches, and
// whose a token is.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { tokenReviewAttestor } from '../../controller/ca/token-review.ts'
import { kubernetesIdentity } from '../../controller/kubernetes/identity.ts'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { ConfigStore } from '../../controller/watch/config-store.ts'
import { WATCHED_KINDS } from '../../controller/watch/kinds.ts'
import { KubernetesSource } from '../../controller/watch/kubernetes.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { credentialsOf } from '../support/ca.ts'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'

const RBAC = fileURLToPath(new URL('../../controller/rbac.yaml', import.meta.url))
const CONTROLLER = 'system:serviceaccount:istio-system:sidestep-controller'

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open()
t.teardown(() => cluster.close())
await cluster.apply(await readFile(RBAC, 'utf8'))
const token = await cluster.kubectl('-n', 'istio-system', 'create', 'token', 'sidestep-controller')
const client = new KubernetesClient(
  kubeConfigAccess(() => cluster.loadWithToken(token.trim())),
  systemClock,
)
const nodes = ['node-a', 'node-b']
for (const name of nodes)
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name } }))
const shop = await cluster.createNamespace('shop')
await cluster.kubectl('-n', 'istio-system', 'create', 'serviceaccount', 'ztunnel')
for (const account of ['cart', 'front'])
  await cluster.kubectl('-n', shop, 'create', 'serviceaccount', account)

/** A pod that is bound to a node on which no kubelet runs: for the apiserver it is there. */
async function createPod(namespace: string, name: string, account: string, node: string): Promise<void> {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { serviceAccountName: account, nodeName: node, containers: [{ name: 'main', image: 'none' }] },
  }
  await cluster.apply(JSON.stringify(pod))
}

async function podToken(namespace: string, pod: string, account: string, audience = 'istio-ca') {
  const bound = ['--bound-object-kind=Pod', `--bound-object-name=${pod}`, `--audience=${audience}`]
  return (await cluster.kubectl('-n', namespace, 'create', 'token', account, ...bound)).trim()
}

await createPod('istio-system', 'ztunnel-a', 'ztunnel', 'node-a')
await createPod(shop, 'cart-1', 'cart', 'node-a')
await createPod(shop, 'front-1', 'front', 'node-b')

const store = new ConfigStore(systemClock, () => {})
const source = new KubernetesSource({ client, clock: systemClock, random: Math.random })
source.start(store)
t.teardown(() => source.stop())

async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 20_000
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`in vain: ${what} ${JSON.stringify(store.state)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
await until('the source is synced', () => store.state.isSynced)

const attestor = tokenReviewAttestor({
  kubernetes: kubernetesIdentity(client, { view: store, isSynced: () => store.state.isSynced }),
  trustDomain: 'cluster.local',
  clock: systemClock,
  nodeAccounts: ['istio-system/ztunnel'],
})
const attest = async (bearer: string) =>
  await attestor.attest(credentialsOf({ authorization: `Bearer ${bearer}` }, Date.now()))
const identity = (namespace: string, account: string): string =>
  `spiffe://cluster.local/ns/${namespace}/sa/${account}`

t.test('its rights are those kinds, to list and to watch, and what is named beside them', async (t) => {
  const documents = parseAllDocuments(await readFile(RBAC, 'utf8')).map((each) => each.toJS())
  const rules = documents.flatMap(({ kind, rules: found }) =>
    kind === 'ClusterRole' ? (found as readonly Rule[]) : [],
  )
  const allowed = rules
    .filter(({ verbs }) => verbs.includes('watch'))
    .flatMap(({ apiGroups, resources, verbs }) => {
      t.same(verbs, ['list', 'watch'])
      return apiGroups.flatMap((group) => resources.map((resource) => `${resource}.${group}`))
    })
  t.same(allowed.toSorted(), WATCHED_KINDS.map(({ plural, group }) => `${plural}.${group}`).toSorted())
  t.notOk(
    rules.some((rule) => [...rule.apiGroups, ...rule.resources, ...rule.verbs].includes('*')),
    'nothing is allowed as a whole',
  )
  const can = async (...args: readonly string[]): Promise<string> =>
    (
      await cluster.kubectl('auth', 'can-i', ...args, `--as=${CONTROLLER}`).catch(({ stdout }) => stdout)
    ).trim()
  t.equal(await can('create', 'tokenreviews.authentication.k8s.io'), 'yes')
  for (const verb of ['get', 'list']) t.equal(await can(verb, 'secrets', '-n', shop), 'no', verb)
  for (const verb of ['create', 'delete', 'patch']) t.equal(await can(verb, 'pods', '-n', shop), 'no', verb)
})

t.test('to provision waypoints it may make and keep their objects, and see no list of them', async (t) => {
  const can = async (...args: readonly string[]): Promise<string> =>
    (
      await cluster.kubectl('auth', 'can-i', ...args, `--as=${CONTROLLER}`).catch(({ stdout }) => stdout)
    ).trim()
  const kinds = ['services', 'serviceaccounts', 'deployments.apps', 'poddisruptionbudgets.policy']
  for (const kind of kinds) {
    for (const verb of ['get', 'create', 'patch']) t.equal(await can(verb, kind, '-n', shop), 'yes', kind)
    for (const verb of ['update', 'delete', 'deletecollection'])
      t.equal(await can(verb, kind, '-n', shop), 'no', `${verb} ${kind}`)
    if (kind !== 'services') t.equal(await can('list', kind, '-n', shop), 'no', kind)
  }
  const gateways = 'gateways.gateway.networking.k8s.io'
  for (const verb of ['get', 'create', 'patch', 'delete']) {
    t.equal(await can(verb, `${gateways}/sidestep-waypoint`, '-n', shop), 'yes', verb)
    t.equal(await can(verb, `${gateways}/ingress`, '-n', shop), 'no', `${verb} of another name`)
  }
  const classes = 'gatewayclasses.gateway.networking.k8s.io'
  t.equal(await can('patch', `${classes}/sidestep-waypoint`), 'yes')
  for (const denied of [`${classes}/nginx`, 'roles.rbac.authorization.k8s.io', 'clusterroles'])
    t.equal(await can('patch', denied), 'no', denied)
  for (const [resource, part] of [
    ['serviceaccounts', 'token'],
    ['pods', 'exec'],
  ] as const)
    t.equal(await can('create', resource, `--subresource=${part}`, '-n', shop), 'no', `${resource}/${part}`)
})

t.test(
  'of statuses it may read and replace those that it writes, one by one, and no object with them',
  async (t) => {
    const documents = parseAllDocuments(await readFile(RBAC, 'utf8')).map((each) => each.toJS())
    const rules = documents.flatMap(({ rules: found }) => (found ?? []) as readonly Rule[]) // as: kinds without rules
    const statuses = rules.filter(({ resources }) => resources.some((each) => each.endsWith('/status')))
    t.same(
      statuses
        .flatMap(({ resources, verbs }) => resources.map((each) => `${each} ${verbs.join()}`))
        .toSorted(),
      [
        ...['authorizationpolicies', 'gatewayclasses', 'gateways', 'grpcroutes', 'httproutes'],
        ...['peerauthentications', 'requestauthentications', 'tcproutes', 'tlsroutes'],
      ].map((each) => `${each}/status get,update`),
    )
    for (const kind of ['authorizationpolicies.security.istio.io', 'gateways.gateway.networking.k8s.io'])
      for (const verb of ['get', 'update', 'patch']) {
        const args = ['auth', 'can-i', verb, kind, '--subresource=status', '-n', shop, `--as=${CONTROLLER}`]
        const answer = await cluster.kubectl(...args).catch(({ stdout }) => stdout)
        t.equal(answer.trim(), verb === 'patch' ? 'no' : 'yes', `${verb} ${kind}`)
      }
    const policies = ['auth', 'can-i', 'update', 'authorizationpolicies.security.istio.io', '-n', shop]
    const answer = await cluster.kubectl(...policies, `--as=${CONTROLLER}`).catch(({ stdout }) => stdout)
    t.equal(answer.trim(), 'no', 'what a policy says is not ours')
  },
)

t.test('every kind is read, those that nobody installed are empty', async (t) => {
  t.equal(store.state.unreachable, null)
  t.ok(store.get('Pod', shop, 'cart-1'))
  t.ok(store.get('Service', 'default', 'kubernetes'))
  t.same(store.list('TrafficSplit.split.smi-spec.io'), [], 'its definition is not installed')
})

t.test('a pod gets its own identity, a ztunnel those of its node', async (t) => {
  const cart = await attest(await podToken(shop, 'cart-1', 'cart'))
  if (cart === null || isRefusal(cart)) throw new Error(JSON.stringify(cart))
  t.equal(cart.node, 'node-a')
  t.equal(await cart.authorise(null), identity(shop, 'cart'))
  t.match(await cart.authorise(identity(shop, 'front')), { code: 'IDENTITY_REFUSED' })
  const ztunnel = await attest(await podToken('istio-system', 'ztunnel-a', 'ztunnel'))
  if (ztunnel === null || isRefusal(ztunnel)) throw new Error(JSON.stringify(ztunnel))
  t.equal(await ztunnel.authorise(identity(shop, 'cart')), identity(shop, 'cart'))
  t.match(
    await ztunnel.authorise(identity(shop, 'front')),
    { code: 'IDENTITY_REFUSED' },
    'it runs on the other node',
  )
  await createPod(shop, 'front-2', 'front', 'node-a')
  await until('the new pod is known', () => store.get('Pod', shop, 'front-2') !== undefined)
  t.equal(await ztunnel.authorise(identity(shop, 'front')), identity(shop, 'front'), 'now it runs here too')
})

t.test('tokens that prove nothing: wrong audience, no pod, forged, of a pod that is gone', async (t) => {
  t.match(await attest(await podToken(shop, 'cart-1', 'cart', 'somebody-else')), { code: 'TOKEN_INVALID' })
  const unbound = await cluster.kubectl('-n', shop, 'create', 'token', 'cart', '--audience=istio-ca')
  t.match(await attest(unbound.trim()), { code: 'TOKEN_INVALID', detail: /not bound to a pod/ })
  const good = await podToken(shop, 'cart-1', 'cart')
  const [head = '', body = '', signature = ''] = good.split('.')
  const forged = Buffer.from(
    Buffer.from(body, 'base64url').toString().replaceAll('"cart"', '"front"'),
  ).toString('base64url')
  t.not(forged, body)
  t.match(await attest(`${head}.${forged}.${signature}`), { code: 'TOKEN_INVALID' })
  t.match(await attest('lab-static-token'), { code: 'TOKEN_INVALID' }, 'a user is no service account')
  await createPod(shop, 'short', 'cart', 'node-a')
  await until('the pod is known', () => store.get('Pod', shop, 'short') !== undefined)
  const orphan = await podToken(shop, 'short', 'cart')
  t.notOk(isRefusal((await attest(orphan)) ?? { kind: 'caller' }))
  await cluster.kubectl('-n', shop, 'delete', 'pod', 'short', '--force', '--grace-period=0')
  await until('the pod is gone', () => store.get('Pod', shop, 'short') === undefined)
  t.match(await attest(orphan), { code: 'TOKEN_INVALID' }, 'although it was believed a moment ago')
})

t.test('an apiserver that hangs or is gone refuses nobody: the question is to be asked again', async (t) => {
  const asked = await podToken(shop, 'cart-1', 'cart')
  const other = await podToken(shop, 'cart-1', 'cart')
  await cluster.signal('kube-apiserver', 'SIGSTOP')
  await t.rejects(attest(asked), { code: 'CERT_UNAVAILABLE', retryable: true })
  await cluster.signal('kube-apiserver', 'SIGCONT')
  await cluster.kill('kube-apiserver')
  await t.rejects(attest(other), { code: 'CERT_UNAVAILABLE', retryable: true })
  await until('the source says so', () => store.state.unreachable !== null)
  t.ok(store.get('Pod', shop, 'cart-1'), 'what was known stays')
  await cluster.start('kube-apiserver')
  await until('the source is back', () => store.state.unreachable === null)
  t.notOk(isRefusal((await attest(other)) ?? { kind: 'caller' }))
})
