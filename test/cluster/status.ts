// SPDX-License-Identifier: Apache-2.0
// Statuses on a real apiserver, written by two replicas with the rights of rbac.yaml and no others.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { LeaseElection } from '../../controller/kubernetes/lease.ts'
import { LeaderDuties } from '../../controller/leader.ts'
import type { MeshView } from '../../controller/mesh-view.ts'
import { STATUS_DUTY, statusDuty } from '../../controller/status/status-duty.ts'
import { Translator } from '../../controller/translate/translate.ts'
import type { Translation } from '../../controller/translate/translation.ts'
import { ConfigStore } from '../../controller/watch/config-store.ts'
import { KubernetesSource } from '../../controller/watch/kubernetes.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { openLog } from '../../mesh/runtime/log.ts'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { SETTINGS } from '../support/translated.ts'

const RBAC = fileURLToPath(new URL('../../controller/rbac.yaml', import.meta.url))
const NAMESPACE = 'istio-system'
const WAIT_MS = 60_000

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open()
t.teardown(() => cluster.close())
await cluster.apply(await readFile(RBAC, 'utf8'))
const token = (await cluster.kubectl('-n', NAMESPACE, 'create', 'token', 'sidestep-controller')).trim()
const shop = await cluster.createNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' })
await cluster.kubectl('-n', shop, 'create', 'serviceaccount', 'cart')

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly observedGeneration?: number
  readonly lastTransitionTime?: string
}
interface Status {
  readonly conditions?: readonly Condition[]
  readonly addresses?: readonly { readonly value: string }[]
  readonly listeners?: readonly { readonly name: string; readonly conditions: readonly Condition[] }[]
}
interface Told {
  readonly metadata: { readonly generation: number; readonly resourceVersion: string }
  readonly status?: Status
}
interface Report {
  readonly isRunning: boolean
  readonly pending: number
  readonly counts: Readonly<Record<'written' | 'equal' | 'failed', number>>
  readonly failures: readonly { readonly reason: string }[]
  readonly wanted: readonly unknown[]
}

/** A controller as far as statuses are concerned. */
class Replica {
  readonly #store: ConfigStore
  readonly #source: KubernetesSource
  readonly #duties: LeaderDuties
  translations = 0

  constructor(holder: string) {
    const client = new KubernetesClient(
      kubeConfigAccess(() => cluster.loadWithToken(token)),
      systemClock,
    )
    const translator = new Translator(SETTINGS)
    const listeners = new Set<() => void>()
    let translation: Translation | null = null
    const empty = translator.translate({ list: () => [], get: () => undefined })
    this.#store = new ConfigStore(systemClock, () => {
      translation = translator.translate(this.#store)
      this.translations++
      for (const listener of listeners) listener()
    })
    this.#source = new KubernetesSource({ client, clock: systemClock, random: Math.random })
    const mesh: MeshView = {
      objects: this.#store,
      get translation() {
        return translation ?? empty
      },
      get isTranslated() {
        return translation !== null
      },
      clients: () => [],
      onTranslated: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    }
    const log = openLog('silent')
    const monotonicMs = () => performance.now()
    const duty = statusDuty({
      ...{ mesh, api: client, settings: SETTINGS, clock: systemClock, monotonicMs, log },
      random: Math.random,
      isRemoved: async () => false,
    })
    const election = new LeaseElection({
      ...{ client, namespace: NAMESPACE, name: 'sidestep-controller', holder, clock: systemClock },
      ...{ monotonicMs, random: Math.random },
    })
    this.#duties = new LeaderDuties(election, [duty], log)
    this.#source.start(this.#store)
    this.#duties.start()
  }

  get isLeader(): boolean {
    return this.#duties.fence !== null
  }

  get report(): Report {
    return this.#duties.report(STATUS_DUTY) as Report // as: read() of the report
  }

  /** All is as it should be, as far as this replica knows. */
  get isSettled(): boolean {
    const { isRunning, pending, wanted } = this.report
    return isRunning && pending === 0 && wanted.length > 0
  }

  async stop(): Promise<void> {
    await this.#duties.stop()
    await this.#source.stop()
  }
}

async function until<T>(what: string, look: () => Promise<T | null> | T | null): Promise<T> {
  const endMs = performance.now() + WAIT_MS
  for (;;) {
    const found = await look()
    if (found !== null && found !== false) return found
    if (performance.now() > endMs) throw new Error(`in vain: ${what} ${JSON.stringify(first.report)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function told(kind: string, name: string, namespace = shop): Promise<Told> {
  const scope = namespace === '' ? [] : ['-n', namespace]
  return JSON.parse(await cluster.kubectl(...scope, 'get', kind, name, '-o', 'json')) as Told // as: kubectl
}

const conditionOf = ({ status }: { status?: Status }, type: string): Condition | undefined =>
  status?.conditions?.find((each) => each.type === type)

/** Waits until a condition has that reason. */
async function reason(
  kind: string,
  name: string,
  type: string,
  want: string,
  message = /./,
): Promise<Condition> {
  return await until(`${kind} ${name}: ${type} ${want}`, async () => {
    const found = conditionOf(await told(kind, name), type)
    return found?.reason === want && message.test(found.message) ? found : null
  })
}

const ENFORCED = 'sidestep.dev/Enforced'
const policy = (name: string, spec: object): string =>
  JSON.stringify({
    ...{
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name, namespace: shop },
    },
    spec,
  })

async function createPod(name: string, labels: object, address: string): Promise<void> {
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: shop, labels } },
    spec: { serviceAccountName: 'cart', nodeName: 'node-a', containers: [{ name: 'main', image: 'none' }] },
  }
  await cluster.apply(JSON.stringify(pod))
  await setPod(name, address, 'True')
}

async function setPod(name: string, ip: string, ready: string): Promise<void> {
  const conditions = [{ type: 'Ready', status: ready }]
  const status = { phase: 'Running', podIP: ip, podIPs: [{ ip }], conditions }
  const patch = JSON.stringify({ status })
  await cluster.kubectl('-n', shop, 'patch', 'pod', name, '--subresource=status', '--type=merge', '-p', patch)
}

await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' } }))
await createPod('cart-1', { app: 'cart' }, '10.1.0.1')
const first = new Replica('first')
t.teardown(() => first.stop())
await until('the first replica leads', () => first.isLeader || null)

t.test('a policy says where it is enforced, and beside whom', async (t) => {
  const cart = { selector: { matchLabels: { app: 'cart' } }, action: 'DENY' }
  await cluster.apply(policy('exact', { ...cart, rules: [{ to: [{ operation: { ports: ['8080'] } }] }] }))
  await cluster.apply(policy('l7', { ...cart, rules: [{ to: [{ operation: { methods: ['DELETE'] } }] }] }))
  await cluster.apply(policy('nowhere', { action: 'AUDIT', rules: [{}] }))
  const exact = await reason('authorizationpolicy', 'exact', ENFORCED, 'Exact')
  t.match(exact, { status: 'True', message: /1 workload on 1 node/, observedGeneration: 1 })
  t.match(await reason('authorizationpolicy', 'l7', ENFORCED, 'RefusedNeedsL7'), {
    status: 'False',
    message: /POLICY_NEEDS_L7/,
  })
  t.match(await reason('authorizationpolicy', 'nowhere', ENFORCED, 'Nowhere'), { status: 'False' })
  const text = await cluster.kubectl('-n', shop, 'describe', 'authorizationpolicy', 'l7')
  t.match(text, /Reason: +RefusedNeedsL7/, 'people see it')
})

t.test('conditions of an istiod beside us keep every byte, and ours is mended beside them', async (t) => {
  const path = [
    '-n',
    shop,
    'patch',
    'authorizationpolicy',
    'exact',
    '--subresource=status',
    '--type=merge',
    '-p',
  ]
  const foreign = {
    ...{
      type: 'istio.io/ZtunnelAccepted',
      status: 'True',
      reason: 'Accepted',
      message: 'attached to ztunnel',
    },
    ...{ observedGeneration: '1', lastTransitionTime: '2026-01-01T00:00:00.123456Z', lastProbeTime: null },
  }
  const before = conditionOf(await told('authorizationpolicy', 'exact'), ENFORCED)
  // As one that knows nothing of us: the list is replaced.
  await cluster.kubectl(
    ...path,
    JSON.stringify({ status: { conditions: [foreign], observedGeneration: '1' } }),
  )
  await reason('authorizationpolicy', 'exact', ENFORCED, 'Exact')
  const { status } = await told('authorizationpolicy', 'exact')
  const { lastProbeTime: _, ...kept } = foreign // the apiserver drops null
  t.same(status?.conditions?.[0], kept)
  t.match(status, { observedGeneration: '1' })
  t.equal(status?.conditions?.length, 2)
  t.equal(before?.status, 'True')
  // The spec changes: a new generation, the same verdict, the same time.
  const time = conditionOf({ ...(status && { status }) }, ENFORCED)?.lastTransitionTime
  const rules = [{ to: [{ operation: { ports: ['9090'] } }] }]
  await cluster.apply(policy('exact', { selector: { matchLabels: { app: 'cart' } }, action: 'DENY', rules }))
  const next = await until('generation 2 is told', async () => {
    const found = conditionOf(await told('authorizationpolicy', 'exact'), ENFORCED)
    return found?.observedGeneration === 2 ? found : null
  })
  t.equal(next.lastTransitionTime, time)
})

const gateway = {
  ...{
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name: 'wp', namespace: shop },
  },
  spec: {
    gatewayClassName: 'sidestep-waypoint',
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
  },
}

t.test('a Gateway says what its waypoint waits for, step by step', async (t) => {
  const gatewayClass = {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass' },
    metadata: { name: 'sidestep-waypoint' },
    spec: { controllerName: 'sidestep.dev/waypoint-controller' },
  }
  const foreign = { ...gateway, metadata: { ...gateway.metadata, name: 'theirs' } }
  await cluster.apply(JSON.stringify(gatewayClass))
  await cluster.apply(JSON.stringify(gateway))
  await cluster.apply(
    JSON.stringify({ ...foreign, spec: { ...foreign.spec, gatewayClassName: 'istio-waypoint' } }),
  )
  await until('the class is accepted', async () => {
    const found = await told('gatewayclass', 'sidestep-waypoint', '')
    const isAccepted = conditionOf(found, 'Accepted')?.status === 'True'
    return isAccepted && conditionOf(found, 'SupportedVersion')?.status === 'True' ? found : null
  })
  await reason('gateway', 'wp', 'Programmed', 'NoResources')
  const labels = { 'gateway.networking.k8s.io/gateway-name': 'wp' }
  const service = {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'wp', namespace: shop, labels } },
    spec: { selector: labels, ports: [{ name: 'mesh', port: 15008 }] },
  }
  await cluster.apply(JSON.stringify(service))
  await reason('gateway', 'wp', 'Programmed', 'Pending')
  await createPod('wp-1', labels, '10.1.0.9')
  const ready = await reason('gateway', 'wp', 'Programmed', 'Programmed')
  t.match(ready, { status: 'True', observedGeneration: 1 })
  const { status } = await told('gateway', 'wp')
  t.match(status?.addresses?.[0]?.value, /^\d+\.\d+\.\d+\.\d+$/)
  t.match(status?.listeners?.[0], { name: 'mesh', supportedKinds: [], attachedRoutes: 0 })
  t.same(
    status?.listeners?.[0]?.conditions.map(({ type, status }) => `${type} ${status}`),
    ['Accepted True', 'Programmed True', 'ResolvedRefs True'],
  )
  t.match(await cluster.kubectl('-n', shop, 'get', 'gateway', 'wp'), /wp +sidestep-waypoint +\d+\.\S+ +True/)
  t.equal(
    conditionOf(await told('gateway', 'theirs'), 'Accepted')?.reason,
    'Pending',
    'as the apiserver made it',
  )
  await setPod('wp-1', '10.1.0.9', 'False')
  t.match(await reason('gateway', 'wp', 'Programmed', 'Pending'), { status: 'False' })
  t.same((await told('gateway', 'wp')).status?.addresses, status?.addresses, 'nobody goes round it')
})

t.test('another replica takes over and writes nothing, since nothing is wrong', async (t) => {
  await until('all is settled', () => first.isSettled || null)
  const versions = async (): Promise<string[]> =>
    await Promise.all(
      ['exact', 'l7', 'nowhere'].map(async (name) => {
        const { metadata } = await told('authorizationpolicy', name)
        return metadata.resourceVersion
      }),
    )
  const before = await versions()
  const second = new Replica('second')
  t.teardown(() => second.stop())
  await first.stop()
  await until('the second replica leads and has looked', () => second.isSettled || null)
  t.equal(second.report.counts.written, 0)
  t.same(await versions(), before)
  const { translations } = second
  await cluster.kill('kube-apiserver')
  await cluster.start('kube-apiserver')
  await cluster.apply(policy('later', { action: 'AUDIT', rules: [{}] }))
  t.match(await reason('authorizationpolicy', 'later', ENFORCED, 'Nowhere'), { observedGeneration: 1 })
  t.ok(second.translations > translations)
  await until('it is settled again', () => second.isSettled || null)
  t.equal(second.report.counts.written, 1)
  t.same(second.report.failures, [])
  t.same(await versions(), before, 'the others are as they were')
})

t.test('without the right nothing is written, and admin says which right is missing', async (t) => {
  const third = new Replica('third')
  t.teardown(() => third.stop())
  await until('the third replica has looked', () => third.isSettled || null)
  const rules = (await readFile(RBAC, 'utf8')).replace('authorizationpolicies/status, ', '')
  await cluster.apply(rules)
  await cluster.apply(policy('denied', { action: 'AUDIT', rules: [{}] }))
  await until('the failure is told', () => third.report.failures.length === 1 || null)
  t.match(third.report.failures[0], { reason: 'APISERVER_DENIED', detail: /authorizationpolicies/ })
  await createPod('wp-2', { 'gateway.networking.k8s.io/gateway-name': 'wp' }, '10.1.0.10')
  await reason('gateway', 'wp', 'Programmed', 'Programmed')
})
