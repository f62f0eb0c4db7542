// SPDX-License-Identifier: Apache-2.0
// What a worker must know to carry connections of one pod to one address, without the model: who answers there,
// in which order of preference, through which waypoint, or why nobody does. Built in the main thread, cloned to
// workers, valid until the model's version changes. Rules: SPEC HBONE §4.1; the picking is done per connection.
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { SocketAddress } from '../net/address.ts'
import { type Asked, direct, none, selectEndpoints, selectWaypoint } from './endpoint-selection.ts'
import type { MeshState } from './mesh-state.ts'
import type { Service, WeightedWaypoint } from './service.ts'
import { formatGateway, type GatewayAddress, identityOf, type Workload } from './workload.ts'
import type { WorkloadFacts } from './workload-facts.ts'

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
  /** Null: the connection ends there. Else it is a gateway to another network, and a tunnel goes through it. */
  readonly inner: InnerTunnel | null
  /** The next hop's: of a gateway, until it is known who answered behind it. */
  readonly workload: WorkloadFacts
}

/** A tunnel inside a tunnel (double HBONE); its authority is the outer one's. */
export interface InnerTunnel {
  /** Who ends it must prove one of these. */
  readonly expectedIdentities: readonly string[]
  /** The network we say we come from. */
  readonly forwardedNetwork: string
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
  const workload = state.workloadByIp(network, ip)
  const service = state.serviceByVip(network, ip, source.namespace)
  const asked = { state, source, network, to: { ip, port }, hostname: service?.hostname ?? null }
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
    const waypoints = waypointsOf(service).map((each) => describeWaypoint(asked, each))
    if (waypoints.length > 0) return { ...view, kind: 'service', service: serviceFacts(service), waypoints }
  }
  // SPEC HBONE §4.1 rows 3–5: for the endpoint question a service comes first, unless it passes everything through.
  // SPEC-DEVIATION: of a PASSTHROUGH service whose address is also a workload's, that workload is asked: it may want mTLS.
  // SPEC-DEVIATION: when its address is also a workload's and it has no endpoint, rows 4–5 would pass the bytes on
  // in plain text, because there the service counts as unknown; we refuse, as for any service without endpoint.
  if (service !== undefined && service.loadBalancer?.mode !== 'Passthrough') {
    const selection = selectEndpoints(asked, service)
    return { ...view, kind: 'service', service: serviceFacts(service), ...selection }
  }
  if (workload === undefined) return { ...view, kind: 'passthrough' }
  if (workload.network !== source.network) {
    return { ...view, kind: 'workload', refusal: refuse('NETWORK_GATEWAY', `network ${workload.network}`) }
  }
  if (workload.waypoint !== null && !isInstanceOf(state, source, workload.waypoint)) {
    // SPEC HBONE §4.1 row 7: workload-addressed traffic goes to the workload's waypoint, unless it comes from there.
    const waypoint = describeWaypoint(
      { ...asked, hostname: null },
      { destination: workload.waypoint, weight: 1 },
    )
    return { ...view, kind: 'workload', waypoints: [waypoint] }
  }
  return { ...view, kind: 'workload', candidates: [direct(workload, ip, port, 0, [])] }
}

/** The facts of a service for records and metrics. */
export function serviceFacts({ name, namespace, hostname }: Service): ServiceFacts {
  return { name, namespace, hostname }
}

/** The waypoints of a service. SPEC XDS §1.6: weighted ones; `waypoint` when there are none or all weigh nothing. */
export function waypointsOf(service: Service): readonly WeightedWaypoint[] {
  const weighted = service.weightedWaypoints.filter(({ weight }) => weight > 0)
  if (weighted.length > 0) return weighted
  return service.waypoint === null ? [] : [{ destination: service.waypoint, weight: 1 }]
}

/** SPEC HBONE §4.1 row 2: HBONE to the waypoint, authority = the original destination. Never silently bypassed. */
export function describeWaypoint(asked: Asked, { destination, weight }: WeightedWaypoint): WaypointView {
  const uid = formatGateway(destination)
  const found = asked.state.resolveGateway(destination, asked.source.namespace)
  const { candidates, refusal } =
    found === undefined ? none(refuse('WAYPOINT_MISSING', uid)) : selectWaypoint(asked, found, destination)
  const isNotReady = refusal !== null && (refusal.code === 'NO_ENDPOINT' || refusal.code === 'NO_SUCH_PORT')
  const answer = isNotReady ? refuse('WAYPOINT_NOT_READY', `${uid}: ${refusal.detail}`) : refusal
  return { uid, rank: 0, capacity: weight, candidates, refusal: answer }
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
