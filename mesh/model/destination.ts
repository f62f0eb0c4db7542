// SPDX-License-Identifier: Apache-2.0
// What a worker must know to carry connections of one pod to one address, without the model: who answers there,
// in which order of preference, through which waypoint, or why nobody does. Built in the main thread, cloned to
// workers, valid until the model's version changes. Rules: SPEC HBONE §4.1; the picking is done per connection.
import { type Refusal, refuse } from '../errors/refusal.ts'
import { formatSocketAddress, isIpv6, type SocketAddress } from '../net/address.ts'
import { HBONE_PORT } from '../net/mesh-ports.ts'
import type { Endpoint } from './address-index.ts'
import type { MeshState } from './mesh-state.ts'
import { localityRank, REFUSED_RANK } from './preference.ts'
import { type Service, serviceKey, type WeightedWaypoint } from './service.ts'
import { formatGateway, type GatewayAddress, identityOf, type Workload } from './workload.ts'

/** A workload in records and metrics. */
export interface WorkloadFacts {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly identity: string
  readonly clusterId: string
  readonly workloadName: string
  readonly workloadType: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly region: string
  readonly zone: string
}

/** A service in records and metrics. */
export interface ServiceFacts {
  readonly name: string
  readonly namespace: string
  readonly hostname: string
}

/** One workload that may take the connection. */
export interface Candidate {
  readonly uid: string
  /** Higher is preferred; a lower one only when every higher one is out. */
  readonly rank: number
  /** Weight within its rank; 0 = never. */
  readonly capacity: number
  readonly protocol: 'HBONE' | 'TCP'
  /** Where the socket goes. */
  readonly dial: SocketAddress
  /** CONNECT `:authority`; '' for TCP. */
  readonly authority: string
  /** The peer must prove one of these; empty for TCP. */
  readonly expectedIdentities: readonly string[]
  readonly workload: WorkloadFacts
}

/** One waypoint of the destination. */
export interface WaypointView {
  /** Its reference as configured. */
  readonly uid: string
  readonly rank: 0
  /** Share of the connections it gets among the destination's waypoints. */
  readonly capacity: number
  readonly candidates: readonly Candidate[]
  /** Why there are no candidates; null when there are. */
  readonly refusal: Refusal | null
}

/** Everything about one destination for one source. */
export interface DestinationView {
  /** `passthrough`: unknown to the mesh, carried as it is. */
  readonly kind: 'passthrough' | 'workload' | 'service'
  readonly modelVersion: number
  /** The original destination. */
  readonly ip: string
  readonly port: number
  readonly service: ServiceFacts | null
  readonly candidates: readonly Candidate[]
  /** Not empty: the connection must go through one of these, never around. */
  readonly waypoints: readonly WaypointView[]
  /** Why there are neither candidates nor waypoints; null when there are. */
  readonly refusal: Refusal | null
}

/** The facts of a workload for records and metrics. */
export function workloadFacts(workload: Workload): WorkloadFacts {
  const { uid, name, namespace, serviceAccount, clusterId, workloadName, workloadType } = workload
  const { canonicalName, canonicalRevision, locality } = workload
  return {
    ...{ uid, name, namespace, serviceAccount, clusterId, workloadName, workloadType },
    ...{ canonicalName, canonicalRevision, region: locality.region, zone: locality.zone },
    identity: identityOf(workload),
  }
}

/**
 * Describes `ip:port` on `network` as `source` sees it. `ip` is canonical.
 */
export function describeDestination(
  state: MeshState,
  source: Workload,
  network: string,
  ip: string,
  port: number,
): DestinationView {
  const address = { ip, port }
  const workload = state.workloadByIp(network, ip)
  const service = state.serviceByVip(network, ip, source.namespace)
  const view = {
    modelVersion: state.version,
    ip,
    port,
    service: null,
    candidates: [],
    waypoints: [],
    refusal: null,
  }
  // SPEC HBONE §4.1 rows 1–2: for the waypoint question a workload with that IP comes before a service.
  if (service !== undefined && workload === undefined) {
    const waypoints = waypointsOf(service).map((each) => describeWaypoint(state, source, each, address))
    if (waypoints.length > 0) return { ...view, kind: 'service', service: serviceFacts(service), waypoints }
  }
  // SPEC HBONE §4.1 row 3: for the endpoint question a service comes first.
  // SPEC-DEVIATION: when its address is also a workload's and it has no endpoint, rows 4–5 would pass the bytes on
  // in plain text, because there the service counts as unknown; we refuse, as for any service without endpoint.
  if (service !== undefined) {
    const { candidates, refusal } = selectEndpoints(state, source, service, address)
    // SPEC HBONE §4.1 row 5: a PASSTHROUGH service without endpoint is dialled as it was asked for.
    if (candidates.length === 0 && service.loadBalancer?.mode === 'Passthrough')
      return { ...view, kind: 'passthrough' }
    return { ...view, kind: 'service', service: serviceFacts(service), candidates, refusal }
  }
  if (workload === undefined) return { ...view, kind: 'passthrough' }
  if (workload.network !== source.network) {
    return { ...view, kind: 'workload', refusal: refuse('NETWORK_GATEWAY', `network ${workload.network}`) }
  }
  if (workload.waypoint !== null && !isInstanceOf(state, source, workload.waypoint)) {
    // SPEC HBONE §4.1 row 7: workload-addressed traffic goes to the workload's waypoint, unless it comes from there.
    const each = { destination: workload.waypoint, weight: 1 }
    return { ...view, kind: 'workload', waypoints: [describeWaypoint(state, source, each, address)] }
  }
  return { ...view, kind: 'workload', candidates: [direct(workload, ip, port, 0, [])] }
}

function serviceFacts({ name, namespace, hostname }: Service): ServiceFacts {
  return { name, namespace, hostname }
}

// SPEC XDS §1.6: weighted waypoints, falling back to `waypoint` when there are none or all weigh nothing.
function waypointsOf(service: Service): readonly WeightedWaypoint[] {
  const weighted = service.weightedWaypoints.filter(({ weight }) => weight > 0)
  if (weighted.length > 0) return weighted
  return service.waypoint === null ? [] : [{ destination: service.waypoint, weight: 1 }]
}

interface Selection {
  readonly candidates: Candidate[]
  readonly refusal: Refusal | null
}

function selectEndpoints(state: MeshState, source: Workload, service: Service, to: SocketAddress): Selection {
  const key = serviceKey(service)
  // SPEC HBONE §4.1 selection 1: the service must list the port.
  const servicePort = service.ports[to.port]
  if (servicePort === undefined) return none(refuse('NO_SUCH_PORT', `${key} has no port ${to.port}`))
  return select(state, source, service, to.ip, (endpoint, ip, rank) => {
    const target = targetPort(endpoint, servicePort, to.port)
    return target === 0 ? undefined : direct(endpoint.workload, ip, target, rank, service.subjectAltNames)
  })
}

// SPEC HBONE §4.1 selection 5: endpoint map > service target port > application tunnel with the service port.
function targetPort({ workload, ports }: Endpoint, serviceTarget: number, port: number): number {
  const own = ports[port] ?? 0
  if (own !== 0) return own
  if (serviceTarget !== 0) return serviceTarget
  return workload.applicationTunnel === null ? 0 : port
}

function select(
  state: MeshState,
  source: Workload,
  service: Service,
  originalIp: string,
  make: (endpoint: Endpoint, ip: string, rank: number) => Candidate | undefined,
): Selection {
  const candidates: Candidate[] = []
  let unhealthy = 0
  let elsewhere = 0
  const balancer = service.loadBalancer
  for (const endpoint of state.endpointsOf(service)) {
    const { workload } = endpoint
    if (workload.status === 'Unhealthy' && balancer?.healthPolicy !== 'AllowAll') {
      unhealthy++
      continue
    }
    // SPEC-DEVIATION: row 6 picks first and fails afterwards; without gateways an endpoint in another network
    // cannot be reached, so it is no candidate while a near one is.
    if (workload.network !== source.network) {
      elsewhere++
      continue
    }
    const rank = localityRank(balancer, source, workload)
    const ip = endpointIp(workload, service, originalIp)
    if (rank === REFUSED_RANK || ip === undefined || workload.capacity === 0) continue
    const candidate = make(endpoint, ip, rank)
    if (candidate !== undefined) candidates.push(candidate)
  }
  if (candidates.length > 0) return { candidates: candidates.sort((a, b) => b.rank - a.rank), refusal: null }
  if (elsewhere > 0) return none(refuse('NETWORK_GATEWAY', `${elsewhere} endpoints in other networks`))
  const total = state.endpointsOf(service).length
  return none(refuse('NO_ENDPOINT', `${serviceKey(service)}: ${total} endpoints, ${unhealthy} unhealthy`))
}

// SPEC HBONE §4.1 selection 6: the IP asked for if it is the workload's, else an allowed one, same family first.
function endpointIp(workload: Workload, service: Service, originalIp: string): string | undefined {
  if (workload.workloadIps.includes(originalIp)) return originalIp
  const { ipFamilies } = service
  const allowed = workload.workloadIps.filter((ip) => {
    if (ipFamilies === 'IPv4') return !isIpv6(ip)
    return ipFamilies !== 'IPv6' || isIpv6(ip)
  })
  return allowed.find((ip) => isIpv6(ip) === isIpv6(originalIp)) ?? allowed[0]
}

// SPEC HBONE §4.1 rows 8–9: HBONE to podIP:15008 with authority podIP:targetPort, or plain TCP there.
function direct(
  workload: Workload,
  ip: string,
  port: number,
  rank: number,
  subjectAltNames: readonly string[],
): Candidate {
  const isTunnel = workload.protocol === 'HBONE'
  return {
    uid: workload.uid,
    rank,
    capacity: workload.capacity,
    protocol: workload.protocol,
    dial: { ip, port: isTunnel ? HBONE_PORT : port },
    authority: isTunnel ? formatSocketAddress(ip, port) : '',
    // SPEC HBONE §3.1: the workload's identity and the service's subject alternative names.
    expectedIdentities: isTunnel ? [identityOf(workload), ...subjectAltNames] : [],
    workload: workloadFacts(workload),
  }
}

// SPEC HBONE §4.1 row 2: HBONE to the waypoint, authority = the original destination. Never silently bypassed.
function describeWaypoint(
  state: MeshState,
  source: Workload,
  { destination, weight }: WeightedWaypoint,
  to: SocketAddress,
): WaypointView {
  const uid = formatGateway(destination)
  const found = state.resolveGateway(destination, source.namespace)
  const selection =
    found === undefined
      ? none(refuse('WAYPOINT_MISSING', uid))
      : selectWaypoint(state, source, found, destination.hboneMtlsPort, to)
  const { candidates, refusal } = selection
  const isNotReady = refusal !== null && (refusal.code === 'NO_ENDPOINT' || refusal.code === 'NO_SUCH_PORT')
  const answer = isNotReady ? refuse('WAYPOINT_NOT_READY', `${uid}: ${refusal.detail}`) : refusal
  return { uid, rank: 0, capacity: weight, candidates, refusal: answer }
}

function selectWaypoint(
  state: MeshState,
  source: Workload,
  found: Service | Workload,
  port: number,
  to: SocketAddress,
): Selection {
  const authority = formatSocketAddress(to.ip, to.port)
  const make = (
    workload: Workload,
    dial: SocketAddress,
    rank: number,
    sans: readonly string[],
  ): Candidate => ({
    ...direct(workload, dial.ip, dial.port, rank, sans),
    // SPEC HBONE §3.8: always HBONE, regardless of the waypoint workload's own protocol.
    ...{ protocol: 'HBONE', dial, authority, expectedIdentities: [identityOf(workload), ...sans] },
  })
  if ('uid' in found) {
    if (found.network !== source.network) return none(refuse('NETWORK_GATEWAY', `network ${found.network}`))
    const ip = found.workloadIps.find((each) => isIpv6(each) === isIpv6(to.ip)) ?? found.workloadIps[0]
    if (ip === undefined) return none(refuse('NO_ENDPOINT', `${found.uid} has no address`))
    // SPEC HBONE §4.1: a direct workload reference uses the port as it is.
    return { candidates: [make(found, { ip, port }, 0, [])], refusal: null }
  }
  return select(state, source, found, to.ip, (endpoint, ip, rank) => {
    const mapped = endpoint.ports[port] || found.ports[port] || 0
    // SPEC HBONE §4.1: a missing mapping is allowed only behind an application tunnel, then the port itself.
    if (mapped === 0 && endpoint.workload.applicationTunnel === null) return undefined
    return make(endpoint.workload, { ip, port: mapped || port }, rank, found.subjectAltNames)
  })
}

// The source is that waypoint when one of its workloads has both the source's identity and one of its addresses.
function isInstanceOf(state: MeshState, source: Workload, waypoint: GatewayAddress): boolean {
  const found = state.resolveGateway(waypoint, source.namespace)
  if (found === undefined) return false
  const instances = 'uid' in found ? [found] : state.endpointsOf(found).map(({ workload }) => workload)
  const identity = identityOf(source)
  return instances.some(
    (instance) =>
      instance.network === source.network &&
      identityOf(instance) === identity &&
      instance.workloadIps.some((ip) => source.workloadIps.includes(ip)),
  )
}

function none(refusal: Refusal): Selection {
  return { candidates: [], refusal }
}
