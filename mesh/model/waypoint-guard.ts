// SPDX-License-Identifier: Apache-2.0
// Who must be passed to come to a pod: its own waypoint and those of its services, by whom they are known and how they
// are reached from the pod itself. Only where the controller names a policy of this for the pod: under a controller that
// knows no diversion a waypoint is gone round, as it always could be.
import {
  describeWaypoint,
  type ServiceFacts,
  serviceFacts,
  type WaypointView,
  waypointsOf,
} from './destination.ts'
import type { MeshState } from './mesh-state.ts'
import { isDiverting } from './reserved-policy.ts'
import { type Service, serviceKey, type WeightedWaypoint } from './service.ts'
import { type GatewayAddress, identityOf, type Workload } from './workload.ts'

/** The waypoints of the pod itself, or of one of its services. */
export interface WaypointWay {
  /** Null: of the pod itself. */
  readonly service: ServiceFacts | null
  /** Ports of the pod that the service leads to; empty for its own. */
  readonly ports: readonly number[]
  /** Authorities are of port 0: whoever goes there puts the port in. */
  readonly waypoints: readonly WaypointView[]
}

/** What stands before a pod. */
export interface WaypointGuard {
  /** Who is one of the waypoints, in order. */
  readonly identities: readonly string[]
  /** Addresses of their instances. */
  readonly addresses: readonly string[]
  /** The pod's own first, then those of services by their keys. Empty: they are not known yet. */
  readonly ways: readonly WaypointWay[]
}

/** Describes what stands before a served pod; null: whoever its policies let in. */
export function describeGuard(state: MeshState, pod: Workload): WaypointGuard | null {
  if (!pod.authorizationPolicies.some(isDiverting)) return null
  const identities = new Set<string>()
  const addresses = new Set<string>()
  const ways: WaypointWay[] = []
  let isWaypoint = false
  const to = { ip: pod.workloadIps[0] ?? '', port: 0 }
  const asked = { state, source: pod, network: pod.network, to, hostname: null }
  const add = (own: Omit<WaypointWay, 'waypoints'>, weighted: readonly WeightedWaypoint[]): void => {
    const instances = weighted.flatMap(({ destination }) => instancesOf(state, pod, destination))
    // A waypoint is before nobody who is one of its own pods.
    if (instances.some(({ workload }) => workload.uid === pod.uid)) {
      isWaypoint = true
      return
    }
    for (const { workload, subjectAltNames } of instances) {
      for (const name of [identityOf(workload), ...subjectAltNames]) identities.add(name)
      if (workload.networkMode === 'Standard') for (const ip of workload.workloadIps) addresses.add(ip)
    }
    if (weighted.length > 0)
      ways.push({ ...own, waypoints: weighted.map((each) => describeWaypoint(asked, each)) })
  }
  if (pod.waypoint !== null) add({ service: null, ports: [] }, [{ destination: pod.waypoint, weight: 1 }])
  for (const service of servicesOf(state, pod))
    add({ service: serviceFacts(service), ports: portsOf(service, pod) }, waypointsOf(service))
  if (isWaypoint && ways.length === 0) return null
  return { identities: [...identities].toSorted(), addresses: [...addresses].toSorted(), ways }
}

interface Instance {
  readonly workload: Workload
  readonly subjectAltNames: readonly string[]
}

/** Healthy or not: what is open goes on. */
function instancesOf(state: MeshState, pod: Workload, gateway: GatewayAddress): readonly Instance[] {
  const found = state.resolveGateway(gateway, pod.namespace)
  if (found === undefined) return []
  if ('uid' in found) return [{ workload: found, subjectAltNames: [] }]
  const { subjectAltNames } = found
  return state.endpointsOf(found).map(({ workload }) => ({ workload, subjectAltNames }))
}

function servicesOf(state: MeshState, pod: Workload): readonly Service[] {
  const keys = Object.keys(pod.services).toSorted()
  return keys.flatMap((key) => {
    const at = key.indexOf('/')
    return state.serviceByKey(key.slice(0, at), key.slice(at + 1)) ?? []
  })
}

function portsOf(service: Service, pod: Workload): readonly number[] {
  const own = pod.services[serviceKey(service)]
  return Object.entries(service.ports).map(([port, target]) => own?.[Number(port)] || target)
}
