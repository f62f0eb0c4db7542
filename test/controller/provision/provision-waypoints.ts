// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { pino } from 'pino'
import t from 'tap'
import { objectPath } from '../../../controller/provision/object-path.ts'
import {
  type ProvisionReport,
  provisionWaypoints,
} from '../../../controller/provision/provision-waypoints.ts'
import { provisionTasks } from '../../../controller/provision/tasks.ts'
import type { ConfigObject } from '../../../controller/watch/config-object.ts'
import { ApiError } from '../../../mesh/kubernetes/client.ts'
import { FakeObjects } from '../../support/fake-objects.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { TestMeshView } from '../../support/mesh-view.ts'
import { toObject, viewOf } from '../../support/yaml-objects.ts'

const SETTINGS = {
  ...{ image: 'waypoint:1', imagePullPolicy: 'Never', options: {}, controllerAddresses: 'controller:15012' },
  ...{ controllerNamespace: 'istio-system' },
  ...{ trustDomain: 'cluster.local', clusterId: 'Kubernetes' },
}
const RESYNC_MS = 20_000
const REMOVE_MS = 30_000
const AUTO = 'Gateway shop/sidestep-waypoint'
const CLASS_PATH = '/apis/gateway.networking.k8s.io/v1/gatewayclasses/sidestep-waypoint'
const GATEWAY_PATH = '/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/sidestep-waypoint'
const SERVICE_PATH = '/api/v1/namespaces/shop/services/sidestep-waypoint'
const DEPLOYMENT_PATH = '/apis/apps/v1/namespaces/shop/deployments/sidestep-waypoint'

const namespace = (name: string, waypoint: string | null): ConfigObject =>
  toObject({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name, annotations: waypoint === null ? {} : { 'sidestep.dev/waypoint': waypoint } },
  })

/** A duty, its apiserver, and a source that shows at once what is written. */
class Lab {
  readonly api = new FakeObjects()
  readonly mesh = new TestMeshView()
  readonly clock = new ManualClock()
  fence: string | null = '1'
  askers: ConfigObject[] = []
  readonly logged: string[] = []
  readonly duty = provisionWaypoints({
    ...{ mesh: this.mesh, api: this.api, settings: SETTINGS, clock: this.clock, random: () => 0.5 },
    log: pino({ level: 'warn' }, { write: (line: string) => void this.logged.push(line) }),
  })

  start(): void {
    this.duty.start(() => this.fence)
  }

  /** Lets everything happen that can without time. */
  async settle(): Promise<void> {
    for (let before = -1; before !== this.api.requests; ) {
      before = this.api.requests
      for (let count = 0; count < 10; count++) await turn()
      this.mesh.changed(viewOf([...this.askers, ...this.api.seen()]))
      for (let count = 0; count < 10; count++) await turn()
    }
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms)
    await this.settle()
  }

  async ask(waypoint: string | null): Promise<void> {
    this.askers = [namespace('shop', waypoint)]
    await this.settle()
  }

  report(): ProvisionReport {
    return this.duty.report?.() as ProvisionReport // as: the duty's own
  }

  state(name: string) {
    return this.report().tasks.find((task) => task.name === name)
  }
}

async function started(): Promise<Lab> {
  const lab = new Lab()
  lab.start()
  await lab.ask('auto')
  return lab
}

t.test('the class, the Gateway, and what belongs to it are made, and told', async (t) => {
  const lab = await started()
  t.same(lab.api.writes, [
    'apply /apis/gateway.networking.k8s.io/v1/gatewayclasses/sidestep-waypoint',
    `apply ${GATEWAY_PATH}`,
    'apply /api/v1/namespaces/shop/serviceaccounts/sidestep-waypoint',
    'apply /apis/policy/v1/namespaces/shop/poddisruptionbudgets/sidestep-waypoint',
    `apply ${DEPLOYMENT_PATH}`,
    `apply ${SERVICE_PATH}`,
  ])
  t.same(lab.report().tasks, [
    { name: AUTO, state: 'applied', problem: null },
    { name: 'waypoint shop/sidestep-waypoint', state: 'applied', problem: null },
  ])
})

t.test('the class belongs to the namespace of the controllers, also one that was made without', async (t) => {
  const home = toObject({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'istio-system', uid: 'home' },
  })
  const lab = new Lab()
  lab.start()
  await lab.ask(null)
  const made = (): unknown => lab.api.stored.get(CLASS_PATH)?.ours?.metadata.ownerReferences
  t.equal(made(), undefined, 'nobody knows that namespace yet')
  lab.askers = [home]
  await lab.settle()
  const owner = { apiVersion: 'v1', kind: 'Namespace', name: 'istio-system', uid: 'home' }
  t.same(made(), [owner])
  const { writes } = lab.api
  const count = writes.length
  await lab.pass(RESYNC_MS)
  t.equal(writes.length, count, 'once')
  lab.api.collectGarbage()
  lab.askers = [{ ...home, metadata: { ...home.metadata, isDeleting: true } }]
  await lab.settle()
  await lab.pass(RESYNC_MS)
  t.equal(lab.api.stored.has(CLASS_PATH), false, 'nor is it made again while that goes')
})

t.test('a class of somebody else is left as it is', async (t) => {
  const home = toObject({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'istio-system', uid: 'home' },
  })
  const lab = new Lab()
  const foreign = {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass' as const },
    metadata: { name: 'sidestep-waypoint' },
    spec: { controllerName: 'sidestep.dev/waypoint-controller' },
  }
  lab.api.putForeign(CLASS_PATH, foreign)
  lab.start()
  lab.askers = [home]
  await lab.settle()
  await lab.pass(RESYNC_MS)
  t.same(lab.api.writes, [])
})

t.test('before the configuration was read, and without the lead, nothing is written', async (t) => {
  const unread = new Lab()
  unread.mesh.objects = viewOf([namespace('shop', 'auto')])
  unread.start()
  unread.clock.advance(10 * RESYNC_MS)
  await turn()
  t.equal(unread.api.requests, 0)
  const follower = new Lab()
  follower.fence = null
  follower.start()
  await follower.ask('auto')
  await follower.pass(RESYNC_MS)
  t.same(follower.api.writes, [])
  t.not(follower.api.requests, 0, 'it looked')
})

t.test('what is as it should be is read now and then, and not written', async (t) => {
  const lab = await started()
  const before = [...lab.api.writes]
  const { requests } = lab.api
  await lab.pass(RESYNC_MS)
  t.same(lab.api.writes, before)
  t.equal(lab.api.requests, requests + 5)
  lab.api.touch(SERVICE_PATH)
  await lab.pass(RESYNC_MS)
  t.same(lab.api.writes, [...before, `apply ${SERVICE_PATH}`], 'what somebody changed is applied again')
})

t.test('what somebody deletes is back at the next look', async (t) => {
  const lab = await started()
  lab.api.stored.delete(DEPLOYMENT_PATH)
  await lab.pass(RESYNC_MS - 1)
  t.notOk(lab.api.stored.has(DEPLOYMENT_PATH))
  await lab.pass(1)
  t.ok(lab.api.stored.has(DEPLOYMENT_PATH))
})

t.test('a Gateway that nobody names any more goes after a while, and not before', async (t) => {
  const lab = await started()
  await lab.ask(null)
  t.same(lab.report().unused, ['shop'])
  await lab.pass(REMOVE_MS - 1)
  t.ok(lab.api.stored.has(GATEWAY_PATH))
  await lab.ask('auto')
  await lab.ask(null)
  await lab.pass(REMOVE_MS - 1)
  t.ok(lab.api.stored.has(GATEWAY_PATH), 'the wait began anew')
  await lab.pass(1)
  t.notOk(lab.api.stored.has(GATEWAY_PATH))
  t.same(lab.report().tasks, [])
  t.same(lab.report().unused, [])
})

t.test('a Gateway that was made anew meanwhile is not the one that goes', async (t) => {
  const lab = await started()
  await lab.ask(null)
  await lab.pass(REMOVE_MS - 1)
  const old = lab.api.stored.get(GATEWAY_PATH)
  if (old === undefined) throw new Error('no Gateway')
  lab.api.stored.set(GATEWAY_PATH, { ...old, uid: 'another' })
  // Nobody has told the duty yet.
  lab.clock.advance(1)
  for (let count = 0; count < 10; count++) await turn()
  t.ok(lab.api.stored.has(GATEWAY_PATH))
})

t.test('a deletion that fails is told and tried again, one that is not wanted any more is not', async (t) => {
  const lab = await started()
  await lab.ask(null)
  lab.api.fault = (request) => (request.startsWith('delete') ? new ApiError(500, 'etcd is away') : null)
  await lab.pass(REMOVE_MS)
  t.match(lab.state(AUTO), { state: 'failed', problem: { code: 'APISERVER_UNAVAILABLE' } })
  lab.api.fault = () => null
  await lab.ask('auto')
  await lab.pass(RESYNC_MS)
  t.ok(lab.api.stored.has(GATEWAY_PATH))
  t.equal(lab.state(AUTO)?.state, 'applied')
  t.notOk(lab.api.writes.some((each) => each.startsWith('delete')))
})

t.test('a write that failed while nobody asked any more deletes nothing before its time', async (t) => {
  const lab = await started()
  const { promise: hanging, resolve: fail } = Promise.withResolvers<Error>()
  lab.api.fault = (request) => (request === `get ${GATEWAY_PATH}` ? hanging : null)
  await lab.pass(RESYNC_MS)
  await lab.ask(null)
  fail(new ApiError(500, 'etcd is away'))
  lab.api.fault = () => null
  await lab.settle()
  await lab.pass(1000)
  await lab.pass(REMOVE_MS - 1001)
  t.ok(lab.api.stored.has(GATEWAY_PATH))
  await lab.pass(1)
  t.notOk(lab.api.stored.has(GATEWAY_PATH))
})

t.test('what we made for another Gateway is not this one’s', async (t) => {
  const lab = new Lab()
  const labels = { 'sidestep.dev/managed-by': 'sidestep-controller' }
  const metadata = { name: 'sidestep-waypoint', namespace: 'shop', labels }
  for (const ownerReferences of [[], [{ uid: 'uid of an earlier one' }]]) {
    lab.api.putForeign(SERVICE_PATH, {
      ...{ apiVersion: 'v1', kind: 'Service' },
      metadata: { ...metadata, ownerReferences },
    })
    if (ownerReferences.length === 0) lab.start()
    await lab.ask('auto')
    await lab.pass(RESYNC_MS)
    const name = 'waypoint shop/sidestep-waypoint'
    t.match(lab.state(name), { state: 'failed', problem: { code: 'WAYPOINT_NAME_TAKEN' } })
    t.equal(lab.api.stored.get(SERVICE_PATH)?.ours, null)
    t.notOk(lab.api.stored.has(DEPLOYMENT_PATH))
  }
  lab.api.collectGarbage()
  await lab.pass(RESYNC_MS)
  t.equal(lab.state('waypoint shop/sidestep-waypoint')?.state, 'applied', 'once Kubernetes has taken it away')
})

t.test('failures are told as what they are, once, and tried again', async (t) => {
  for (const [error, code] of [
    [new ApiError(403, 'no right'), 'APISERVER_DENIED'],
    [new ApiError(422, 'a bad label'), 'CONFIG_INVALID'],
    [new ApiError(409, 'somebody was faster'), 'APISERVER_UNAVAILABLE'],
    [new ApiError(500, 'etcd is away'), 'APISERVER_UNAVAILABLE'],
    [new Error('no answer within 30000 ms'), 'APISERVER_UNAVAILABLE'],
  ] as const) {
    const lab = new Lab()
    lab.api.fault = (request) => (request === `apply ${SERVICE_PATH}` ? error : null)
    lab.start()
    await lab.ask('auto')
    const name = 'waypoint shop/sidestep-waypoint'
    t.match(lab.state(name), { state: 'failed', problem: { code, detail: error.message } })
    t.equal(lab.state(AUTO)?.state, 'applied', 'the others are done')
    for (let count = 0; count < 5; count++) await lab.pass(1000)
    t.equal(lab.logged.length, 1, String(lab.logged))
    lab.api.fault = () => null
    await lab.pass(RESYNC_MS)
    t.same(lab.state(name), { name, state: 'applied', problem: null })
    await lab.duty.stop()
  }
})

t.test('an apiserver that asks to wait is left in peace, but not for ever', async (t) => {
  const lab = new Lab()
  lab.api.fault = () => new ApiError(429, 'too many requests', 3_600_000)
  lab.start()
  await lab.ask('auto')
  const { requests } = lab.api
  await lab.pass(RESYNC_MS - 1)
  t.equal(lab.api.requests, requests)
  lab.api.fault = () => null
  await lab.pass(1)
  t.equal(lab.state('waypoint shop/sidestep-waypoint')?.state, 'applied')
})

t.test('when it ends nothing is written any more, nothing waits, and it can begin again', async (t) => {
  const lab = new Lab()
  const { promise: hanging, resolve: go } = Promise.withResolvers<Error>()
  lab.api.fault = (request) => (request === `apply ${GATEWAY_PATH}` ? hanging : null)
  lab.start()
  lab.askers = [namespace('shop', 'auto')]
  lab.mesh.changed(viewOf(lab.askers))
  await turn()
  const stopped = lab.duty.stop()
  go(new Error('aborted'))
  await stopped
  const { requests } = lab.api
  lab.mesh.changed(viewOf(lab.askers))
  lab.clock.advance(10 * RESYNC_MS)
  await turn()
  t.equal(lab.api.requests, requests)
  t.equal(lab.clock.pendingCount, 0)
  t.equal(lab.mesh.listenerCount, 0)
  t.same(lab.report(), { isActive: false, tasks: [], unused: [], findings: [] })
  lab.api.fault = () => null
  lab.start()
  await lab.settle()
  t.equal(lab.state('waypoint shop/sidestep-waypoint')?.state, 'applied')
})

const NAMES = ['a', 'b']
const paths = NAMES.flatMap((home) => {
  const gateway = toObject({
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway' },
    metadata: { name: 'sidestep-waypoint', namespace: home, uid: 'x' },
    spec: { gatewayClassName: 'sidestep-waypoint' },
  })
  const { tasks } = provisionTasks(viewOf([namespace(home, 'auto'), gateway]), SETTINGS)
  return [...(tasks.get(`waypoint ${home}/sidestep-waypoint`)?.objects() ?? [])]
})
const step = fc.oneof(
  fc.record({
    kind: fc.constant('ask' as const),
    home: fc.constantFrom(...NAMES),
    is: fc.constantFrom(null, 'auto'),
  }),
  fc.record({ kind: fc.constant('foreign' as const), at: fc.nat() }),
  fc.record({ kind: fc.constant('delete' as const), at: fc.nat() }),
  fc.record({ kind: fc.constant('fail' as const), every: fc.integer({ min: 0, max: 4 }) }),
  fc.record({ kind: fc.constant('lead' as const), is: fc.boolean() }),
  fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 40_000 }) }),
)

t.test(
  'whatever fails or is in the way: nothing of others changes, and in the end all is as wanted',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const lab = new Lab()
        const wishes = new Map<string, string | null>(NAMES.map((home) => [home, null]))
        const foreign = new Set<string>()
        const tell = async (): Promise<void> => {
          lab.askers = NAMES.map((home) => namespace(home, wishes.get(home) ?? null))
          lab.api.collectGarbage()
          await lab.settle()
        }
        const check = (): void => {
          for (const path of foreign) {
            const found = lab.api.stored.get(path)
            if (found === undefined || found.ours !== null) throw new Error(`${path} was touched`)
          }
        }
        lab.start()
        for (const each of steps) {
          const object = paths['at' in each ? each.at % paths.length : 0]
          if (object === undefined) throw new Error('no objects')
          const path = objectPath(object)
          const before = lab.api.writes.length
          if (each.kind === 'ask') wishes.set(each.home, each.is)
          if (each.kind === 'foreign' && !lab.api.stored.has(path)) {
            const { apiVersion, kind, metadata } = object
            const { name, namespace: home = '' } = metadata
            lab.api.putForeign(path, { apiVersion, kind, metadata: { name, namespace: home } })
            foreign.add(path)
          }
          if (each.kind === 'delete') {
            lab.api.stored.delete(path)
            foreign.delete(path)
          }
          let count = 0
          if (each.kind === 'fail')
            lab.api.fault = () =>
              each.every > 0 && ++count % each.every === 0 ? new ApiError(500, 'x') : null
          if (each.kind === 'lead') lab.fence = each.is ? '1' : null
          if (each.kind === 'pass') lab.clock.advance(each.ms)
          await tell()
          if (lab.fence === null && lab.api.writes.length > before)
            throw new Error('written without the lead')
          check()
        }
        for (const path of foreign) lab.api.stored.delete(path)
        foreign.clear()
        lab.api.fault = () => null
        lab.fence = '1'
        for (let round = 0; round < 8; round++) {
          lab.clock.advance(REMOVE_MS)
          await tell()
        }
        for (const object of paths) {
          const home = object.metadata.namespace ?? ''
          const isThere = lab.api.stored.has(objectPath(object))
          if (isThere !== (wishes.get(home) === 'auto')) throw new Error(`${objectPath(object)}: ${isThere}`)
        }
        await lab.duty.stop()
      }),
      { numRuns: 60 },
    )
  },
)
