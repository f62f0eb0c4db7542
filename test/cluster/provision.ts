// SPDX-License-Identifier: Apache-2.0
// Waypoints on a real apiserver, with the rights of rbac.yaml: what is made of a Gateway is accepted, belongs to it and
// goes with it, and nothing of anybody else is touched.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import t from 'tap'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import type { LeaderDuty } from '../../controller/leader.ts'
import { type ObjectApi, ProvisionWriter } from '../../controller/provision/object-writer.ts'
import {
  type ProvisionReport,
  type ProvisionTiming,
  provisionWaypoints,
} from '../../controller/provision/provision-waypoints.ts'
import { provisionTasks } from '../../controller/provision/tasks.ts'
import { waypointObjectName } from '../../controller/translate/waypoint-names.ts'
import { ConfigStore } from '../../controller/watch/config-store.ts'
import { KubernetesSource } from '../../controller/watch/kubernetes.ts'
import { ApiError, KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { ControllerReplica } from '../support/controller-replica.ts'
import { TestMeshView } from '../support/mesh-view.ts'

const RBAC = fileURLToPath(new URL('../../controller/rbac.yaml', import.meta.url))
const NAME = 'sidestep-waypoint'
const GATEWAYS = `gateways.gateway.networking.k8s.io`
const SETTINGS = {
  image: 'registry.example/waypoint:1',
  imagePullPolicy: 'IfNotPresent',
  options: {},
  controllerAddresses: 'sidestep-controller.istio-system.svc:15012',
  controllerNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  clusterId: 'Kubernetes',
}
const log = pino({ level: 'silent' })

interface Stored {
  readonly metadata: Record<string, unknown> & { readonly uid: string; readonly resourceVersion: string }
  readonly spec: Record<string, unknown>
}

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open()
t.teardown(() => cluster.close())
await cluster.apply(await readFile(RBAC, 'utf8'))
const token = (await cluster.kubectl('-n', 'istio-system', 'create', 'token', 'sidestep-controller')).trim()
const client = new KubernetesClient(
  kubeConfigAccess(() => cluster.loadWithToken(token)),
  systemClock,
)

const mesh = new TestMeshView()
const store = new ConfigStore(systemClock, () => mesh.changed(store))
const source = new KubernetesSource({ client, clock: systemClock, random: Math.random })
source.start(store)
t.teardown(() => source.stop())

async function until<T>(what: string, find: () => T | Promise<T>): Promise<NonNullable<T>> {
  const endMs = performance.now() + 40_000
  for (;;) {
    const found = await find()
    if (found) return found
    if (performance.now() > endMs) throw new Error(`in vain: ${what} ${JSON.stringify(duty.report?.())}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Requests of the duties. */
const reads: string[] = []
const writes: string[] = []

/** A client that writes down what it is asked for. */
function recorded(api: ObjectApi): ObjectApi {
  return {
    getJson: (...args) => {
      reads.push(args[0])
      return api.getJson(...args)
    },
    apply: (...args) => {
      writes.push(`apply ${args[0]}`)
      return api.apply(...args)
    },
    applyNew: (...args) => {
      writes.push(`apply ${args[0]}`)
      return api.applyNew(...args)
    },
    delete: (...args) => {
      writes.push(`delete ${args[0]}`)
      return api.delete(...args)
    },
  }
}

/** The duty looks so many times more at the Service of that name. */
async function looks(count: number, namespace: string, name: string): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/services/${name}`
  const seen = () => reads.filter((each) => each === path).length
  const before = seen()
  await until(`${count} looks at ${path}`, () => seen() >= before + count)
}

let duty: LeaderDuty
function startDuty(timing: Partial<ProvisionTiming>, fence: () => string | null = () => '1'): LeaderDuty {
  const made = provisionWaypoints({
    ...{ mesh, api: recorded(client), settings: SETTINGS, clock: systemClock },
    ...{ random: Math.random, log, timing },
  })
  made.start(fence)
  t.teardown(() => made.stop())
  return made
}
duty = startDuty({ resyncMs: 500, removeDelayMs: 1000 })
const report = () => duty.report?.() as ProvisionReport // as: the duty's own
const stateOf = (name: string) => report().tasks.find((task) => task.name === name)

const API_OF: Readonly<Record<string, string>> = {
  deployment: '/apis/apps/v1',
  poddisruptionbudget: '/apis/policy/v1',
  [GATEWAYS]: '/apis/gateway.networking.k8s.io/v1',
}
const admin = cluster.admin()

/** What is stored; null: nothing. Not by kubectl, which takes a quarter of a second of a processor each time. */
async function get(kind: string, namespace: string, name: string): Promise<Stored | null> {
  const plural = kind === GATEWAYS ? 'gateways' : `${kind}s`
  const path = `${API_OF[kind] ?? '/api/v1'}/namespaces/${namespace}/${plural}/${name}`
  try {
    return (await admin.getJson(path, {}, AbortSignal.timeout(10_000))) as Stored // as: an object of Kubernetes
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null
    throw error
  }
}

async function applyGateway(namespace: string, name: string, extra: Record<string, unknown> = {}) {
  const { annotations, ...spec } = extra
  await cluster.apply(
    JSON.stringify({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name, namespace, ...(annotations !== undefined && { annotations }) },
      spec: {
        gatewayClassName: NAME,
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
        ...spec,
      },
    }),
  )
}

const KINDS = ['deployment', 'service', 'serviceaccount', 'poddisruptionbudget']
const applied = (namespace: string, gateway: string) =>
  until(
    `${namespace}/${gateway} is applied`,
    () => stateOf(`waypoint ${namespace}/${gateway}`)?.state === 'applied',
  )

t.test('the class is there before anybody asks for it', async (t) => {
  const found = await until('the class', async () =>
    (await cluster.kubectl('get', 'gatewayclass', NAME, '--ignore-not-found', '-o', 'json')).trim(),
  )
  t.match(JSON.parse(found), {
    metadata: {
      labels: { 'sidestep.dev/managed-by': 'sidestep-controller' },
      ownerReferences: [{ kind: 'Namespace', name: 'istio-system' }],
    },
    spec: { controllerName: 'sidestep.dev/waypoint-controller' },
  })
})

t.test('a Gateway gets its objects, which are accepted, owned and gone with it', async (t) => {
  const shop = await cluster.createNamespace('shop')
  await applyGateway(shop, 'cart', { annotations: { 'sidestep.dev/waypoint-replicas': '3' } })
  await applied(shop, 'cart')
  const gateway = await get(GATEWAYS, shop, 'cart')
  for (const kind of KINDS) {
    const object = await get(kind, shop, 'cart')
    t.match(
      object?.metadata.ownerReferences,
      [{ kind: 'Gateway', name: 'cart', uid: gateway?.metadata.uid }],
      kind,
    )
  }
  const deployment = await get('deployment', shop, 'cart')
  t.equal(deployment?.spec.replicas, 3)
  const managers = await cluster.kubectl(
    ...['-n', shop, 'get', 'deployment', 'cart', '-o', 'jsonpath={.metadata.managedFields[*].manager}'],
    '--show-managed-fields',
  )
  t.match(managers, /sidestep-controller/, 'applied under our name')
  t.ok(
    await until('the pods are made', async () => {
      const pods = await cluster.kubectl(
        ...['-n', shop, 'get', 'pods', '-l', 'gateway.networking.k8s.io/gateway-name=cart', '-o', 'name'],
      )
      return pods.split('\n').filter(Boolean).length === 3
    }),
    'by the Deployment: they are admitted as they are',
  )
  await applyGateway(shop, 'cart')
  await until(
    'the annotation is gone, and its pod',
    async () => (await get('deployment', shop, 'cart'))?.spec.replicas === 2,
  )
  await cluster.kubectl('-n', shop, 'delete', GATEWAYS, 'cart')
  for (const kind of KINDS)
    await until(`${kind} is gone`, async () => (await get(kind, shop, 'cart')) === null)
  await until('nothing is told of it', () => stateOf(`waypoint ${shop}/cart`) === undefined)
})

t.test('a name that is too long for a Service, and one with dots', async (t) => {
  const shop = await cluster.createNamespace('long')
  for (const name of [`${'long-'.repeat(30)}end`, '9.to.5']) {
    await applyGateway(shop, name)
    await applied(shop, name)
    for (const kind of KINDS) t.ok(await get(kind, shop, waypointObjectName(name)), `${kind} of ${name}`)
  }
})

t.test('what stays as it is is not written again', async (t) => {
  const shop = await cluster.createNamespace('quiet')
  await applyGateway(shop, 'cart')
  await applied(shop, 'cart')
  const version = async () => (await get('service', shop, 'cart'))?.metadata.resourceVersion
  const before = await version()
  writes.length = 0
  await looks(3, shop, 'cart')
  // The Deployment's status changed since: it may have been applied once more, without effect.
  t.notOk(
    writes.some((each) => each.includes(`${shop}/services`)),
    String(writes),
  )
  t.equal(await version(), before)
})

t.test('what somebody deletes or changes comes back', async (t) => {
  const shop = await cluster.createNamespace('drift')
  await applyGateway(shop, 'cart')
  await applied(shop, 'cart')
  const before = await get('deployment', shop, 'cart')
  await cluster.kubectl('-n', shop, 'delete', 'deployment', 'cart')
  const after = await until('another Deployment', async () => await get('deployment', shop, 'cart'))
  t.not(after.metadata.uid, before?.metadata.uid)
  await cluster.kubectl('-n', shop, 'scale', 'deployment', 'cart', '--replicas=0')
  await until('its pods are back', async () => (await get('deployment', shop, 'cart'))?.spec.replicas === 2)
  await cluster.kubectl('-n', shop, 'annotate', 'deployment', 'cart', 'team=blue')
  await cluster.kubectl('-n', shop, 'scale', 'deployment', 'cart', '--replicas=1')
  await until('its pods are back', async () => (await get('deployment', shop, 'cart'))?.spec.replicas === 2)
  t.match(
    (await get('deployment', shop, 'cart'))?.metadata.annotations,
    { team: 'blue' },
    'what others add stays',
  )
})

t.test('auto makes a Gateway with all that belongs to it, and none leaves nothing', async (t) => {
  const shop = await cluster.createNamespace('auto')
  await cluster.kubectl('-n', shop, 'create', 'service', 'clusterip', 'cart', '--tcp=80')
  const annotate = (value: string) =>
    cluster.kubectl('-n', shop, 'annotate', 'service', 'cart', '--overwrite', `sidestep.dev/waypoint${value}`)
  await annotate('=auto')
  const gateway = await until('the Gateway', async () => await get(GATEWAYS, shop, NAME))
  await applied(shop, NAME)
  await annotate('-')
  await until('it is known that nobody asks', () => report().unused.includes(shop))
  await annotate('=auto')
  await until('it is known that somebody asks', () => !report().unused.includes(shop))
  t.equal((await get(GATEWAYS, shop, NAME))?.metadata.uid, gateway.metadata.uid, 'it was never away')
  await annotate('-')
  await until('the Gateway is gone', async () => (await get(GATEWAYS, shop, NAME)) === null)
  for (const kind of KINDS) await until(`${kind} is gone`, async () => (await get(kind, shop, NAME)) === null)
  await until('nothing is told of it', () => !report().tasks.some(({ name }) => name.includes(shop)))
})

t.test('a Gateway that a person made under that name stays, whoever asks', async (t) => {
  const shop = await cluster.createNamespace('person')
  await applyGateway(shop, NAME)
  await applied(shop, NAME)
  await cluster.kubectl('annotate', 'namespace', shop, 'sidestep.dev/waypoint=auto')
  await until(
    'it was seen',
    () => store.get('Namespace', '', shop)?.metadata.annotations['sidestep.dev/waypoint'],
  )
  const before = await get(GATEWAYS, shop, NAME)
  await cluster.kubectl('annotate', 'namespace', shop, 'sidestep.dev/waypoint-')
  writes.length = 0
  // Twice the delay after which one of ours would go.
  await looks(4, shop, NAME)
  t.equal((await get(GATEWAYS, shop, NAME))?.metadata.resourceVersion, before?.metadata.resourceVersion)
  t.notOk(writes.some((each) => each.includes(`${shop}/gateways`)))
})

t.test('an object of somebody else is left alone, and told', async (t) => {
  const shop = await cluster.createNamespace('foreign')
  await cluster.kubectl('-n', shop, 'create', 'service', 'clusterip', 'cart', '--tcp=80')
  const before = await get('service', shop, 'cart')
  await applyGateway(shop, 'cart')
  const state = await until('it is told', () => {
    const found = stateOf(`waypoint ${shop}/cart`)
    return found?.state === 'failed' ? found : null
  })
  t.match(state.problem, { code: 'WAYPOINT_NAME_TAKEN', detail: new RegExp(`Service ${shop}/cart`) })
  t.same((await get('service', shop, 'cart'))?.metadata, before?.metadata)
  t.equal(await get('deployment', shop, 'cart'), null, 'no half of a waypoint')
  await cluster.kubectl('-n', shop, 'delete', 'service', 'cart')
  await applied(shop, 'cart')
})

t.test('an object that somebody makes between our look and our write gets nothing of ours', async (t) => {
  const shop = await cluster.createNamespace('race')
  await cluster.kubectl('-n', shop, 'create', 'serviceaccount', 'cart')
  const before = await get('serviceaccount', shop, 'cart')
  await duty.stop()
  await applyGateway(shop, 'cart')
  await until('the Gateway is known', () => store.get('Gateway.gateway.networking.k8s.io', shop, 'cart'))
  const task = provisionTasks(store, SETTINGS).tasks.get(`waypoint ${shop}/cart`)
  if (task === undefined) throw new Error('no task')
  const blind: ObjectApi = {
    getJson: async () => {
      throw new ApiError(404, 'not there a moment ago')
    },
    apply: (...args) => client.apply(...args),
    applyNew: (...args) => client.applyNew(...args),
    delete: (...args) => client.delete(...args),
  }
  const writer = new ProvisionWriter(blind, () => '1', new AbortController().signal)
  await t.rejects(writer.apply(task.objects(), task.isOurs), { name: 'NameTaken' })
  const after = await get('serviceaccount', shop, 'cart')
  t.same(after?.metadata.labels, before?.metadata.labels)
  t.same(after?.metadata.ownerReferences, before?.metadata.ownerReferences)
  t.equal(await get('deployment', shop, 'cart'), null)
  await cluster.kubectl('-n', shop, 'delete', 'serviceaccount', 'cart')
  duty = startDuty({ resyncMs: 500, removeDelayMs: 1000 })
  await applied(shop, 'cart')
})

t.test('a replica without the lead, or that loses it, writes nothing', async (t) => {
  await duty.stop()
  const shop = await cluster.createNamespace('lead')
  let fence: string | null = null
  writes.length = 0
  const follower = startDuty({ resyncMs: 100, removeDelayMs: 100 }, () => fence)
  await applyGateway(shop, 'cart')
  await until('the Gateway is known', () => store.get('Gateway.gateway.networking.k8s.io', shop, 'cart'))
  await looks(3, shop, 'cart')
  t.same(writes, [])
  t.equal(await get('serviceaccount', shop, 'cart'), null)
  await follower.stop()
  // Loses it after its first write.
  fence = '1'
  const loser = startDuty({ resyncMs: 100, removeDelayMs: 100 }, () => {
    if (writes.some((each) => each.includes(shop))) fence = null
    return fence
  })
  await until('one write', () => writes.some((each) => each.includes(shop)))
  await looks(3, shop, 'cart')
  t.equal(writes.filter((each) => each.includes(shop)).length, 1)
  t.equal(await get('service', shop, 'cart'), null)
  await loser.stop()
  duty = startDuty({ resyncMs: 500, removeDelayMs: 1000 })
  await applied(shop, 'cart')
})

t.test('an apiserver that was killed finds everything as it should be when it is back', async (t) => {
  const shop = await cluster.createNamespace('outage')
  await applyGateway(shop, 'cart')
  await applied(shop, 'cart')
  await applyGateway(shop, 'later')
  await cluster.kill('kube-apiserver')
  const failed = await until('it is told', () => report().tasks.find(({ state }) => state === 'failed'))
  t.equal(failed.problem?.code, 'APISERVER_UNAVAILABLE')
  await cluster.start('kube-apiserver')
  const backMs = performance.now()
  await applied(shop, 'later')
  const settled = () => report().tasks.filter(({ name }) => name.includes(shop) || name === failed.name)
  await until('nothing has failed', () => settled().every(({ state }) => state === 'applied'))
  t.ok(performance.now() - backMs < 30_000, `${Math.round(performance.now() - backMs)} ms`)
  for (const kind of KINDS) t.ok(await get(kind, shop, 'later'), kind)
})

t.test('of two controllers the leader provisions; when it is killed, the other goes on', async (t) => {
  await duty.stop()
  const directory = mkdtempSync(join(tmpdir(), 'sidestep-provision-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const kubeconfigFile = join(directory, 'kubeconfig')
  writeFileSync(kubeconfigFile, cluster.loadWithToken(token).exportConfig(), { mode: 0o600 })
  const options = ['--config-source', 'kubernetes', '--kubeconfig-file', kubeconfigFile]
  const replicas = ['a', 'b'].map(
    () => new ControllerReplica([...options, '--waypoint-image', 'registry.example/waypoint:2']),
  )
  for (const replica of replicas) t.teardown(() => replica.close())
  await Promise.all(replicas.map((replica) => replica.start()))
  const leading = async () => {
    for (const replica of replicas) if ((await replica.leadership()).isLeader) return replica
    return null
  }
  const leader = await until('one leads', leading)
  const imageOf = async (namespace: string): Promise<unknown> =>
    JSON.stringify((await get('deployment', namespace, 'cart'))?.spec ?? '').match(/registry[^"]*/)?.[0]
  const first = await cluster.createNamespace('first')
  await applyGateway(first, 'cart')
  await until('the leader has made it', async () => (await imageOf(first)) === 'registry.example/waypoint:2')
  const name = `waypoint ${first}/cart`
  const taskOf = async (replica: ControllerReplica) =>
    (await replica.ask<ProvisionReport>('/provision'))?.tasks.find((task) => task.name === name)
  await until('admin says so', async () => (await taskOf(leader))?.state === 'applied')
  const [follower] = replicas.filter((each) => each !== leader)
  t.match(await follower?.ask('/provision'), { isActive: false })
  await leader.kill()
  const second = await cluster.createNamespace('second')
  await applyGateway(second, 'cart')
  await until('the other has made it', async () => await imageOf(second))
  await cluster.kubectl('-n', first, 'delete', 'deployment', 'cart')
  const deletedMs = performance.now()
  await until('what was deleted is back', async () => await imageOf(first))
  t.ok(performance.now() - deletedMs < 30_000, `${Math.round(performance.now() - deletedMs)} ms`)
})
