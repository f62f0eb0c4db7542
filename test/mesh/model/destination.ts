// SPDX-License-Identifier: Apache-2.0
// What the view itself holds. Where a connection then goes, row by row: test/ztunnel/decide/outbound-decision.ts.
import t from 'tap'
import { type DestinationView, describeDestination } from '../../../mesh/model/destination.ts'
import { workloadFacts } from '../../../mesh/model/workload-facts.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const CLIENT = workload('client', '10.0.0.1')
const SERVICE = 'name: s, namespace: shop, hostname: s.shop, vips: ["/10.9.0.1"], ports: {80: 8080}'

function describe(
  workloads: readonly string[],
  service: string,
  ip = '10.9.0.1',
  port = 80,
): DestinationView {
  const lines = [CLIENT, ...workloads].map((each) => `- ${each}\n`).join('')
  const mesh = meshOf(`workloads:\n${lines}services:\n- {${service}}\n`, 7)
  const client = mesh.workloadByUid('client')
  if (client === undefined) throw new Error('no client')
  return describeDestination(mesh, client, '', ip, port)
}
const member = (name: string, ip: string, more = ''): string =>
  workload(name, ip, `services: {"shop/s.shop": {}}${more === '' ? '' : `, ${more}`}`)

t.test('a view says what was asked, of which model, and crosses to workers', async (t) => {
  for (const [ip, kind, service] of [
    ['10.9.0.1', 'service', { name: 's', namespace: 'shop', hostname: 's.shop' }],
    ['10.0.0.2', 'workload', null],
    ['10.55.0.1', 'passthrough', null],
  ] as const) {
    const view = describe([member('a', '10.0.0.2')], SERVICE, ip)
    t.match(view, { kind, modelVersion: 7, ip, port: 80, service, refusal: null })
    t.same(view.waypoints, [])
    t.same(structuredClone(view), view)
    t.equal(view.candidates.length, kind === 'passthrough' ? 0 : 1)
  }
})

t.test('a candidate carries everything a connection to it needs', async (t) => {
  const place = 'locality: {region: r, zone: z, subzone: s}, clusterId: c, workloadName: wn, capacity: 3'
  const [tunnel, plain] = describe(
    [member('a', '10.0.0.2', place), member('b', '10.0.0.3', 'protocol: TCP')],
    `${SERVICE}, subjectAltNames: ["spiffe://x/ns/y/sa/z"]`,
  ).candidates
  t.match(tunnel, {
    ...{ uid: 'a', rank: 0, capacity: 3, protocol: 'HBONE', dial: { ip: '10.0.0.2', port: 15008 } },
    authority: '10.0.0.2:8080',
    expectedIdentities: ['spiffe://cluster.local/ns/shop/sa/a-sa', 'spiffe://x/ns/y/sa/z'],
    workload: { name: 'a', namespace: 'shop', clusterId: 'c', workloadName: 'wn', region: 'r', zone: 'z' },
  })
  t.match(plain, { protocol: 'TCP', dial: { ip: '10.0.0.3', port: 8080 }, authority: '' })
  t.same(plain?.expectedIdentities, [])
})

t.test('candidates come best first, and those of one rank in the order of the configuration', async (t) => {
  const zone = (name: string): string => `locality: {region: "", zone: ${name}, subzone: ""}`
  const balancer = 'loadBalancer: {routingPreferences: [Zone], mode: Failover, healthPolicy: OnlyHealthy}'
  const workloads = [
    member('far1', '10.0.0.2', zone('z9')),
    member('near1', '10.0.0.3', zone('""')),
    member('far2', '10.0.0.4', zone('z9')),
    member('near2', '10.0.0.5', zone('""')),
  ]
  const { candidates } = describe(workloads, `${SERVICE}, ${balancer}`)
  t.same(
    candidates.map(({ uid, rank }) => [uid, rank]),
    [
      ['near1', 1],
      ['near2', 1],
      ['far1', 0],
      ['far2', 0],
    ],
  )
})

t.test('waypoints come with their shares, each with its own instances or its own refusal', async (t) => {
  const waypoints =
    'weightedWaypoints: [{destination: {destination: /10.0.0.8, hboneMtlsPort: 15008}, weight: 3}, ' +
    '{destination: {destination: shop/none, hboneMtlsPort: 15008}, weight: 1}, ' +
    '{destination: {destination: /10.0.0.9, hboneMtlsPort: 15008}, weight: 0}]'
  const view = describe([workload('wp', '10.0.0.8', 'protocol: TCP')], `${SERVICE}, ${waypoints}`)
  t.match(view, { refusal: null, service: { hostname: 's.shop' } })
  t.same(view.candidates, [], 'nothing leads around them')
  t.same(
    view.waypoints.map(({ uid, capacity, refusal }) => [uid, capacity, refusal?.code ?? null]),
    [
      ['/10.0.0.8', 3, null],
      ['shop/none', 1, 'WAYPOINT_MISSING'],
    ],
    'a weight of 0 is none',
  )
  t.match(view.waypoints[0]?.candidates, [
    {
      ...{ uid: 'wp', protocol: 'HBONE', authority: '10.9.0.1:80' },
      expectedIdentities: ['spiffe://cluster.local/ns/shop/sa/wp-sa'],
    },
  ])
})

t.test(
  'endpoints behind one gateway are one way for each of its instances, the near ones first',
  async (t) => {
    const zone = (name: string): string => `locality: {region: "", zone: ${name}, subzone: ""}`
    const balancer = 'loadBalancer: {routingPreferences: [Zone], mode: Failover, healthPolicy: OnlyHealthy}'
    const far =
      'network: far, workloadIps: [], networkGateway: {destination: shop/ew.shop, hboneMtlsPort: 15008}'
    const gateway = (name: string, ip: string, more: string): string =>
      workload(name, ip, `services: {"shop/ew.shop": {}}, ${more}`)
    const ports = 'vips: ["/10.9.0.2"], ports: {15008: 15443}'
    const { candidates } = describe(
      [
        member('here', '', `${far}, capacity: 2, ${zone('""')}`),
        member('there', '', `${far}, capacity: 4, ${zone('z9')}`),
        gateway('gw1', '10.0.0.5', zone('z9')),
        gateway('gw2', '10.0.0.6', `capacity: 2, ${zone('""')}`),
        gateway('gw3', '10.0.0.7', zone('""')),
      ],
      `${SERVICE}, ${balancer}, subjectAltNames: ["spiffe://x/ns/y/sa/z"]}\n` +
        `- {name: ew, namespace: shop, hostname: ew.shop, ${ports}, ${balancer}`,
    )
    t.same(
      candidates.map(({ uid, rank, capacity, dial }) => [uid, rank, capacity, dial.port]),
      [
        ['gw2', 1, 4, 15443],
        ['gw3', 1, 2, 15443],
        ['gw1', 1 - 1 / 64, 6, 15443],
      ],
      'as good as the best endpoint behind them',
    )
  },
)

t.test('a refusal says what to look for', async (t) => {
  for (const [workloads, port, code, detail] of [
    [[], 81, 'NO_SUCH_PORT', 'shop/s.shop has no port 81'],
    [[], 80, 'NO_ENDPOINT', 'shop/s.shop: 0 endpoints, 0 unhealthy'],
    [
      [member('a', '10.0.0.2', 'status: Unhealthy'), member('b', '10.0.0.3', 'capacity: 0')],
      ...([80, 'NO_ENDPOINT', 'shop/s.shop: 2 endpoints, 1 unhealthy'] as const),
    ],
    [
      [member('a', '10.0.0.2', 'network: far')],
      80,
      'NETWORK_GATEWAY',
      '1 endpoints in other networks, no gateway',
    ],
  ] as const) {
    const view = describe(workloads, SERVICE, '10.9.0.1', port)
    t.same(view.candidates, [])
    t.same(view.refusal, { kind: 'refusal', code, detail })
  }
})

t.test('the facts of a workload are those of records and metrics, no more', async (t) => {
  const own = meshOf(`workloads:\n- ${CLIENT}`).workloadByUid('client')
  if (own === undefined) throw new Error('no client')
  t.same(workloadFacts(own), {
    ...{ uid: 'client', name: 'client', namespace: 'shop', serviceAccount: 'client-sa', clusterId: '' },
    ...{ workloadName: '', workloadType: '', canonicalName: '', canonicalRevision: '', region: '', zone: '' },
    identity: 'spiffe://cluster.local/ns/shop/sa/client-sa',
  })
})
