// SPDX-License-Identifier: Apache-2.0
// What a waypoint makes of the model: what it serves, and where requests go.
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { MeshState } from '../../../mesh/model/mesh-state.ts'
import { SERVICE_DEFAULTS, type Service } from '../../../mesh/model/service.ts'
import { type GatewayAddress, WORKLOAD_DEFAULTS, type Workload } from '../../../mesh/model/workload.ts'
import { RequestPoliciesSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { ServiceRoutesSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestTelemetrySchema } from '../../../proto/generated/sidestep/v1/telemetry_pb.js'
import { TrafficPolicySchema } from '../../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { describeCluster, describeTarget, type WaypointModel } from '../../../waypoint/model/describe.ts'
import { clusterName, parseClusterName } from '../../../waypoint/model/views.ts'

const reference = (hostname: string): GatewayAddress => ({
  destination: { kind: 'hostname', namespace: 'shop', hostname },
  hboneMtlsPort: 15008,
})
const service = (name: string, ip: string, facts: Partial<Service> = {}): Service => ({
  ...SERVICE_DEFAULTS,
  ...{ name, namespace: 'shop', hostname: `${name}.svc`, vips: [{ network: '', ip }], ports: { 80: 8080 } },
  ...facts,
})
const workload = (name: string, ip: string, of: string, facts: Partial<Workload> = {}): Workload => ({
  ...WORKLOAD_DEFAULTS,
  ...{ uid: name, name, namespace: 'shop', serviceAccount: name, trustDomain: 'td', workloadIps: [ip] },
  ...{ protocol: 'HBONE', services: { [`shop/${of}.svc`]: {} }, ...facts },
})
const own = workload('wp-0', '10.0.0.9', 'wp')
const WORKLOADS = [
  own,
  workload('a', '10.0.0.1', 'cart', { labels: { version: 'v1' } }),
  workload('b', '10.0.0.2', 'cart', { labels: { version: 'v2', tier: 'x' }, protocol: 'TCP', capacity: 3 }),
  workload('c', '10.0.0.3', 'other'),
]
const SERVICES = [
  service('wp', '10.1.0.9', { ports: { 15008: 15008 } }),
  service('cart', '10.1.0.1', { waypoint: reference('wp.svc'), appProtocols: { 80: 'HTTP2' } }),
  service('other', '10.1.0.2', { waypoint: reference('another.svc') }),
]
const model = (facts: Partial<WaypointModel> = {}): WaypointModel => ({
  state: new MeshState({ workloads: WORKLOADS, services: SERVICES, policies: [] }, 1),
  ...{
    own,
    network: '',
    routes: new Map(),
    trafficPolicies: new Map(),
    requestPolicies: new Map(),
    requestTelemetry: new Map(),
    environment: () => '',
    ...facts,
  },
})
const gauges = new SharedArrayBuffer(16)

t.test('a service behind this waypoint is served, by its address and by its name', async (t) => {
  for (const authority of ['10.1.0.1:80', 'cart.svc:80'])
    t.match(describeTarget(model(), authority), {
      ...{ kind: 'service', authority, namespace: 'shop', hostname: 'cart.svc', port: 80 },
      ...{ appProtocol: 'HTTP2', routes: null },
      identities: ['spiffe://td/ns/shop/sa/a', 'spiffe://td/ns/shop/sa/b'],
    })
})

t.test(
  'policies of a service stand before its ports, and before the ports of its pods that they lead to',
  async (t) => {
    const requestPolicies = new Map(
      ['shop/cart.svc', 'shop/other.svc', 'gateway shop/wp'].map((target) => [
        target,
        create(RequestPoliciesSchema, { target }),
      ]),
    )
    const guards = (authority: string, workloads = WORKLOADS): string[] => {
      const state = new MeshState({ workloads, services: SERVICES, policies: [] }, 1)
      const view = describeTarget(model({ state, requestPolicies }), authority)
      return view.kind === 'unknown'
        ? ['unknown']
        : view.guards.map(({ policies, port }) => `${policies.target} ${port}`)
    }
    t.same(guards('10.1.0.1:80'), ['shop/cart.svc 80'])
    t.same(guards('10.0.0.1:8080'), ['shop/cart.svc 80'], 'as if to the service')
    t.same(guards('10.0.0.1:9999'), ['shop/cart.svc 9999'], 'a port that the service does not have')
    const own = WORKLOADS.map((each) =>
      each.name === 'a' ? { ...each, waypoint: reference('wp.svc') } : each,
    )
    t.same(guards('10.0.0.1:8080', own), ['shop/cart.svc 80', 'gateway shop/wp 8080'])
    t.same(guards('10.0.0.2:8080', own), ['shop/cart.svc 80'])
  },
)

t.test(
  'what is said of logs and traces is the service’s, of a pod its waypoint’s, then its services’',
  async (t) => {
    const told = (targets: readonly string[], authority: string, workloads = WORKLOADS): string | null => {
      const requestTelemetry = new Map(
        targets.map((target) => [target, create(RequestTelemetrySchema, { target })] as const),
      )
      const state = new MeshState({ workloads, services: SERVICES, policies: [] }, 1)
      const view = describeTarget(model({ state, requestTelemetry }), authority)
      return view.kind === 'unknown' ? 'unknown' : (view.telemetry?.target ?? null)
    }
    const [service, gateway] = ['shop/cart.svc', 'gateway shop/wp']
    t.equal(told([service, gateway], '10.1.0.1:80'), service)
    t.equal(told([gateway], '10.1.0.1:80'), null)
    t.equal(told([service, gateway], '10.0.0.1:8080'), service)
    const own = WORKLOADS.map((each) =>
      each.name === 'a' ? { ...each, waypoint: reference('wp.svc') } : each,
    )
    t.equal(told([service, gateway], '10.0.0.1:8080', own), gateway)
    t.equal(told([service], '10.0.0.1:8080', own), service)
  },
)

t.test('tags of the environment are told as they are here', async (t) => {
  const tags = [
    { name: 'a', environment: 'REGION', value: 'none' },
    { name: 'b', environment: 'UNSET', value: 'none' },
    { name: 'c', header: 'x', value: 'none' },
  ]
  const telemetry = create(RequestTelemetrySchema, { tracing: { tags } })
  const view = describeTarget(
    model({
      requestTelemetry: new Map([['shop/cart.svc', telemetry]]),
      environment: (name) => (name === 'REGION' ? 'eu' : ''),
    }),
    '10.1.0.1:80',
  )
  t.match(view, {
    telemetry: {
      tracing: {
        tags: [
          { name: 'a', environment: '', value: 'eu' },
          { name: 'b', environment: '', value: 'none' },
          { name: 'c', header: 'x', environment: '', value: 'none' },
        ],
      },
    },
  })
})

t.test('what is not there, or not ours, is refused', async (t) => {
  const table: readonly (readonly [authority: string, code: string])[] = [
    ['10.1.0.2:80', 'TARGET_UNSERVED'],
    ['10.1.0.1:81', 'NO_SUCH_PORT'],
    ['10.9.9.9:80', 'TARGET_UNSERVED'],
    ['nobody.svc:80', 'HOSTNAME_UNKNOWN'],
    ['10.0.0.3:8080', 'TARGET_UNSERVED'],
    ['no authority', 'CONNECT_AUTHORITY'],
  ]
  for (const [authority, code] of table)
    t.match(describeTarget(model(), authority), { kind: 'unknown', refusal: { code } }, authority)
})

t.test('a pod behind it is served by itself, and speaks what its service declares', async (t) => {
  t.match(describeTarget(model(), '10.0.0.1:8080'), {
    ...{ kind: 'workload', appProtocol: 'HTTP2', identities: ['spiffe://td/ns/shop/sa/a'] },
    cluster: {
      refusal: null,
      view: { endpoints: [{ key: 'a', ip: '10.0.0.1', port: 8080, protocol: 'HBONE' }] },
    },
  })
  t.match(describeTarget(model(), '10.0.0.1:9999'), { kind: 'workload', appProtocol: null })
})

t.test('routes are those of the port, else those of all', async (t) => {
  const routes = (...ports: number[]) =>
    new Map([['shop/cart.svc', create(ServiceRoutesSchema, { ports: ports.map((port) => ({ port })) })]])
  const portOf = (found: ReturnType<typeof describeTarget>): number | undefined =>
    found.kind === 'service' ? found.routes?.port : -1
  t.equal(portOf(describeTarget(model({ routes: routes(0, 80) }), '10.1.0.1:80')), 80)
  t.equal(portOf(describeTarget(model({ routes: routes(81, 0) }), '10.1.0.1:80')), 0)
  t.equal(portOf(describeTarget(model({ routes: routes(81) }), '10.1.0.1:80')), undefined)
})

t.test('a cluster has the endpoints of its service, or of a subset of them', async (t) => {
  const policy = create(TrafficPolicySchema, {
    policy: { pool: { maxConnections: 1 } },
    ports: { 80: { pool: { maxConnections: 2 } } },
    subsets: [
      { name: 'v2', labels: { version: 'v2' } },
      { name: 'own', labels: { version: 'v2' }, policy: { pool: { maxConnections: 3 } } },
      { name: 'none', labels: { version: 'v9' } },
    ],
  })
  const trafficPolicies = new Map([['shop/cart.svc', policy]])
  const described = (subset: string) =>
    describeCluster(model({ trafficPolicies }), clusterName('shop/cart.svc', 80, subset), gauges)
  const all = described('')
  t.match(all.view.endpoints, [
    {
      key: 'a',
      ip: '10.0.0.1',
      port: 8080,
      protocol: 'HBONE',
      identity: 'spiffe://td/ns/shop/sa/a',
      weight: 1,
    },
    { key: 'b', ip: '10.0.0.2', port: 8080, protocol: 'TCP', weight: 3 },
  ])
  t.same([all.view.protocol, all.view.policy?.pool?.maxConnections], ['http2', 2])
  t.equal(all.workloads.b?.name, 'b')
  t.same(
    described('v2').view.endpoints.map(({ key }) => key),
    ['b'],
  )
  t.equal(described('v2').view.policy?.pool?.maxConnections, 2)
  t.equal(described('own').view.policy?.pool?.maxConnections, 3)
  t.match(described('none').refusal, { code: 'NO_ENDPOINT' })
  t.match(described('unknown').refusal, { code: 'ROUTE_BROKEN' })
  t.match(describeCluster(model(), clusterName('shop/gone.svc', 80, ''), gauges).refusal, {
    code: 'HOSTNAME_UNKNOWN',
  })
})

t.test('names of clusters are read as they are written', async (t) => {
  t.same(parseClusterName(clusterName('ns/host', 8080, 'v1')), {
    service: 'ns/host',
    port: 8080,
    subset: 'v1',
  })
})
