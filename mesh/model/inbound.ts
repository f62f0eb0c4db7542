// SPDX-License-Identifier: Apache-2.0
// What a worker must know of a pod it serves to accept connections for it, without the model (SPEC HBONE §4.2).
// Built in the main thread, cloned to workers, valid until the model's version changes.
import { isDeepStrictEqual } from 'node:util'
import { isIpv6 } from '../net/address.ts'
import { isVisible } from './address-index.ts'
import type { MeshState } from './mesh-state.ts'
import type { Policy } from './policy.ts'
import type { Service } from './service.ts'
import { describeGuard, type WaypointGuard } from './waypoint-guard.ts'
import type { ApplicationTunnel, GatewayAddress, Workload } from './workload.ts'
import { type WorkloadFacts, workloadFacts } from './workload-facts.ts'

/** A service that the pod is an endpoint of. */
export interface NamedHost {
  /** Of the pod's own network, IPv4 first; null: it has none. */
  readonly vip: string | null
  /** Service port → target port (0: unknown). */
  readonly ports: ReadonlyMap<number, number>
}

/** One served pod. */
export interface InboundView {
  readonly modelVersion: number
  readonly workload: WorkloadFacts
  readonly applicationTunnel: ApplicationTunnel | null
  /** By service host name, for authorities that are names. */
  readonly hosts: ReadonlyMap<string, NamedHost>
  /** Addresses this pod is the waypoint of: authorities it takes although they are not its own. */
  readonly fronted: ReadonlySet<string>
  /** Who must be passed to come here; null: nobody. */
  readonly guard: WaypointGuard | null
  /** It wants its connections inside the node without a tunnel. */
  readonly isSameNodeDirect: boolean
  /** The policies that apply here, for compilePolicies. */
  readonly policies: readonly Policy[]
}

/** Describes a served pod. */
export function describeInbound(state: MeshState, workload: Workload): InboundView {
  return {
    modelVersion: state.version,
    workload: workloadFacts(workload),
    applicationTunnel: workload.applicationTunnel,
    hosts: hostsOf(state, workload),
    fronted: frontedBy(state, workload),
    guard: describeGuard(state, workload),
    isSameNodeDirect: workload.sameNode === 'direct',
    policies: state.policiesFor(workload),
  }
}

/** True when a pod that has one description needs not be told the other. Policies are compared as objects. */
export function isSameInbound(left: InboundView, right: InboundView): boolean {
  return (
    left.isSameNodeDirect === right.isSameNodeDirect &&
    left.policies.length === right.policies.length &&
    left.policies.every((policy, index) => policy === right.policies[index]) &&
    isDeepStrictEqual(
      [left.workload, left.applicationTunnel, left.hosts, left.fronted, left.guard],
      [right.workload, right.applicationTunnel, right.hosts, right.fronted, right.guard],
    )
  )
}

// SPEC HBONE §4.2: best match by host, the local namespace preferred; endpoint map, else the service's target port.
function hostsOf(state: MeshState, workload: Workload): Map<string, NamedHost> {
  const hosts = new Map<string, NamedHost>()
  for (const key of Object.keys(workload.services)) {
    const hostname = key.slice(key.indexOf('/') + 1)
    const service = state.serviceByHost(hostname, workload.namespace)
    if (service === undefined || hosts.has(hostname)) continue
    const own = workload.services[`${service.namespace}/${service.hostname}`]
    const ports = new Map<number, number>()
    for (const [port, target] of Object.entries(service.ports)) {
      ports.set(Number(port), own?.[Number(port)] || target)
    }
    hosts.set(hostname, { vip: vipOf(service, workload.network), ports })
  }
  return hosts
}

// SPEC HBONE §3.7: the own network is preferred, then IPv4.
function vipOf({ vips }: Service, network: string): string | null {
  const own = vips.filter((vip) => vip.network === network)
  const preferred = own.length > 0 ? own : vips
  return (preferred.find(({ ip }) => !isIpv6(ip)) ?? preferred[0])?.ip ?? null
}

// SPEC HBONE §4.2: the authority may be of a service or workload whose waypoint is a service containing this
// workload, or this workload itself ("sandwiched" waypoint).
function frontedBy(state: MeshState, workload: Workload): Set<string> {
  const fronted = new Set<string>()
  const { network } = workload
  const isMe = (gateway: GatewayAddress): boolean => {
    const found = state.resolveGateway(gateway, workload.namespace)
    if (found === undefined) return false
    if ('uid' in found) return found.uid === workload.uid
    return workload.services[`${found.namespace}/${found.hostname}`] !== undefined
  }
  const { services, workloads } = state.behindWaypoints
  for (const service of services) {
    if (!isVisible(service, workload.namespace) || !waypointsOf(service).some(isMe)) continue
    for (const vip of service.vips) if (vip.network === network) fronted.add(vip.ip)
  }
  for (const other of workloads) {
    if (other.waypoint === null || other.network !== network || !isMe(other.waypoint)) continue
    for (const ip of other.workloadIps) fronted.add(ip)
  }
  return fronted
}

function waypointsOf(service: Service): GatewayAddress[] {
  const weighted = service.weightedWaypoints
    .filter(({ weight }) => weight > 0)
    .map((each) => each.destination)
  return service.waypoint === null ? weighted : [service.waypoint, ...weighted]
}
