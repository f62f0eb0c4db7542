// SPDX-License-Identifier: Apache-2.0
// Endpoint selection against the rules said once more, naively and in the order of Istio's ztunnel: for any mesh nobody is
// chosen whom a rule forbids, somebody is whenever one may be, the best places come first, and weights hold.
import fc from 'fast-check'
import t from 'tap'
import { DestinationPicker } from '../../../mesh/balance/destination-picker.ts'
import { describeDestination } from '../../../mesh/model/destination.ts'
import { MeshState } from '../../../mesh/model/mesh-state.ts'
import type { LoadBalancer, RoutingScope, Service } from '../../../mesh/model/service.ts'
import { type GatewayAddress, WORKLOAD_DEFAULTS, type Workload } from '../../../mesh/model/workload.ts'
import { decideOutbound } from '../../../ztunnel/decide/outbound-decision.ts'

const VIP = '10.9.0.1'
const KEY = 'shop/s.shop'
const GATEWAY_KEY = 'shop/ew.shop'
const TO_GATEWAY: GatewayAddress = {
  destination: { kind: 'hostname', namespace: 'shop', hostname: 'ew.shop' },
  hboneMtlsPort: 15_008,
}
const RUNS = { numRuns: 2500 }
const SCOPES: readonly RoutingScope[] = ['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network']

const place = fc.constantFrom('', 'x', 'y')
const anyWorkload = fc.record({
  region: place,
  zone: place,
  subzone: place,
  node: place,
  clusterId: place,
  network: fc.constantFrom('', '', 'far'),
  status: fc.constantFrom<Workload['status'][]>('Healthy', 'Healthy', 'Unhealthy'),
  capacity: fc.nat(4),
  port: fc.constantFrom(0, 9090),
  hasIp: fc.boolean(),
  hasGateway: fc.boolean(),
  isTunnel: fc.boolean(),
})
type Drawn = typeof anyWorkload extends fc.Arbitrary<infer T> ? T : never

function workload(uid: string, ip: string, drawn: Drawn, services: Workload['services']): Workload {
  const { region, zone, subzone, node, clusterId, network, status, capacity } = drawn
  return {
    ...{ ...WORKLOAD_DEFAULTS, uid, name: uid, namespace: 'shop', serviceAccount: uid, trustDomain: 'td' },
    ...{ node, clusterId, network, status, capacity, services, locality: { region, zone, subzone } },
    protocol: drawn.isTunnel ? 'HBONE' : 'TCP',
    workloadIps: drawn.hasIp ? [ip] : [],
    networkGateway: drawn.hasGateway ? TO_GATEWAY : null,
  }
}

function service(
  hostname: string,
  vip: string,
  ports: Service['ports'],
  balancer: LoadBalancer | null,
): Service {
  return {
    ...{
      name: hostname,
      namespace: 'shop',
      hostname,
      vips: [{ network: '', ip: vip }],
      cidrVips: [],
      ports,
      portNames: {},
      appProtocols: {},
    },
    ...{ subjectAltNames: ['spiffe://td/ns/shop/sa/far'], waypoint: null, weightedWaypoints: [] },
    ...{ loadBalancer: balancer, ipFamilies: null, canonical: false, visibility: 'Public' },
  }
}

const anyMesh = fc
  .record({
    source: anyWorkload,
    members: fc.array(anyWorkload, { maxLength: 6 }),
    gateways: fc.array(anyWorkload, { maxLength: 3 }),
    target: fc.constantFrom(0, 8080),
    mode: fc.constantFrom<LoadBalancer['mode'][]>('Standard', 'Strict', 'Failover'),
    routingPreferences: fc.uniqueArray(fc.constantFrom(...SCOPES), { maxLength: 4 }),
    healthPolicy: fc.constantFrom<LoadBalancer['healthPolicy'][]>('OnlyHealthy', 'AllowAll'),
    isBalanced: fc.boolean(),
  })
  .map(({ source: drawnSource, members, gateways, target, isBalanced, ...balancer }) => {
    const source = workload('source', '10.0.0.1', { ...drawnSource, hasIp: true }, {})
    const endpoints = members.map((each, index) => {
      const ports: Record<number, number> = each.port === 0 ? {} : { 80: each.port }
      return workload(`m${index}`, `10.0.1.${index}`, each, { [KEY]: ports })
    })
    const instances = gateways.map((each, index) =>
      workload(`g${index}`, `10.0.2.${index}`, each, { [GATEWAY_KEY]: {} }),
    )
    const services = [
      service('s.shop', VIP, { 80: target }, isBalanced ? balancer : null),
      service('ew.shop', '10.9.0.2', { 15008: 15_008 }, null),
    ]
    return { source, endpoints, instances, services, target, balancer: isBalanced ? balancer : null }
  })
type Mesh = typeof anyMesh extends fc.Arbitrary<infer T> ? T : never

/** Istio's `load_balance`, up to where it chooses. Null: the endpoint must not be used. */
function rankOf(balancer: LoadBalancer | null, source: Workload, endpoint: Workload): number | null {
  if (balancer === null || balancer.mode === 'Standard') return 0
  const same: Record<RoutingScope, boolean> = {
    Region: source.locality.region === endpoint.locality.region,
    Zone: source.locality.zone === endpoint.locality.zone,
    Subzone: source.locality.subzone === endpoint.locality.subzone,
    Node: source.node === endpoint.node,
    Cluster: source.clusterId === endpoint.clusterId,
    Network: source.network === endpoint.network,
  }
  const { routingPreferences: list, mode } = balancer
  let [rank, adjust] = [0, 0]
  for (const scope of list) {
    if (scope === 'Network' && list[0] === 'Network') {
      if (!same.Network) continue
      adjust = list.length - 1
    }
    if (!same[scope]) break
    rank++
  }
  return mode === 'Strict' && rank !== list.length ? null : rank + adjust
}

/** The uids that may be chosen first, with their weights. */
function expectedShares({ source, endpoints, instances, target, balancer }: Mesh): Map<string, number> {
  const gateways = instances.filter(
    ({ status, capacity, workloadIps }) => status === 'Healthy' && capacity > 0 && workloadIps.length > 0,
  )
  const isReachable = ({ network, networkGateway, workloadIps }: Workload): boolean =>
    network === source.network ? workloadIps.length > 0 : networkGateway !== null && gateways.length > 0
  const ranked = endpoints
    .filter(({ status }) => status === 'Healthy' || balancer?.healthPolicy === 'AllowAll')
    .filter(({ capacity, services }) => capacity > 0 && (target !== 0 || services[KEY]?.[80] !== undefined))
    .filter(isReachable)
    .map((endpoint) => ({ endpoint, rank: rankOf(balancer, source, endpoint) }))
    .filter(({ rank }) => rank !== null)
  // All that is behind one gateway is one way, as good as the best of it.
  const far = ranked.filter(({ endpoint }) => endpoint.network !== source.network)
  const near = ranked.filter(({ endpoint }) => endpoint.network === source.network)
  const farRank = Math.max(...far.map(({ rank }) => rank ?? 0))
  const best = Math.max(...near.map(({ rank }) => rank ?? 0), farRank)
  const shares = new Map<string, number>()
  for (const { endpoint, rank } of near) if (rank === best) shares.set(endpoint.uid, endpoint.capacity)
  if (far.length > 0 && farRank === best) {
    const whole = gateways.reduce((sum, { capacity }) => sum + capacity, 0)
    const capacity = far.reduce((sum, { endpoint }) => sum + endpoint.capacity, 0)
    for (const gateway of gateways) shares.set(gateway.uid, (capacity * gateway.capacity) / whole)
  }
  return shares
}

function pickerOf({ source, endpoints, instances, services }: Mesh, random: () => number) {
  const state = new MeshState({ workloads: [source, ...endpoints, ...instances], services, policies: [] }, 1)
  const view = describeDestination(state, source, '', VIP, 80)
  return { view, picker: new DestinationPicker(view, random) }
}

/** Only what a source in the network of this node sees: pods of another one are of another node. */
const onThisNetwork = (mesh: Mesh): Mesh => ({ ...mesh, source: { ...mesh.source, network: '' } })

t.test(
  'the first choice is one of those that the rules allow, and there is one whenever they allow any',
  async () => {
    fc.assert(
      fc.property(anyMesh, fc.double({ min: 0, max: 0.999, noNaN: true }), (drawn, random) => {
        const mesh = onThisNetwork(drawn)
        const shares = expectedShares(mesh)
        const { view, picker } = pickerOf(mesh, () => random)
        const chosen = picker.pickEndpoint(null)
        if (shares.size === 0) return chosen === null && view.refusal !== null
        return chosen !== null && view.refusal === null && shares.has(chosen.uid)
      }),
      RUNS,
    )
  },
)

t.test(
  'whoever fails is followed by another one until all that are allowed were tried, none of them twice',
  async () => {
    fc.assert(
      fc.property(anyMesh, (drawn) => {
        const mesh = onThisNetwork(drawn)
        const { view, picker } = pickerOf(mesh, () => 0)
        const tried = new Set<string>()
        for (let chosen = picker.pickEndpoint(null); chosen !== null; chosen = picker.pickEndpoint(tried)) {
          if (tried.has(chosen.uid)) return false
          tried.add(chosen.uid)
        }
        return tried.size === view.candidates.length
      }),
      RUNS,
    )
  },
)

t.test('over many connections everybody gets the share of its weight', async () => {
  fc.assert(
    fc.property(anyMesh, (drawn) => {
      const mesh = onThisNetwork(drawn)
      const shares = expectedShares(mesh)
      const whole = [...shares.values()].reduce((sum, share) => sum + share, 0)
      const { picker } = pickerOf(mesh, () => 0.3)
      const picks = 2000
      const counts = new Map<string, number>()
      for (let pick = 0; pick < picks && whole > 0; pick++) {
        const uid = picker.pickEndpoint(null)?.uid ?? ''
        counts.set(uid, (counts.get(uid) ?? 0) + 1)
      }
      return [...shares].every(([uid, share]) => {
        return Math.abs((counts.get(uid) ?? 0) - (picks * share) / whole) <= picks / 50
      })
    }),
    { numRuns: 600 },
  )
})

t.test('what is chosen is reached as its network and protocol want it', async () => {
  fc.assert(
    fc.property(anyMesh, (drawn) => {
      const mesh = onThisNetwork(drawn)
      const { view, picker } = pickerOf(mesh, () => 0.5)
      const from = { workload: view.candidates[0]?.workload ?? null, isSocks5Enabled: false }
      if (from.workload === null) return true
      const decision = decideOutbound({ ...from, workload: from.workload }, view, picker)
      if (decision.kind === 'refusal') return false
      const endpoint = mesh.endpoints.find(({ uid }) => uid === decision.uid)
      if (endpoint === undefined)
        return decision.kind === 'hbone' && decision.inner !== null && decision.authority === 's.shop:80'
      const [ip = ''] = endpoint.workloadIps
      const port = endpoint.services[KEY]?.[80] ?? mesh.target
      if (decision.kind === 'plain') return endpoint.protocol === 'TCP' && decision.dial.port === port
      return (
        decision.inner === null && decision.dial.port === 15_008 && decision.authority === `${ip}:${port}`
      )
    }),
    RUNS,
  )
})
