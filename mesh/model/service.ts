// SPDX-License-Identifier: Apache-2.0
// A service as every configuration source describes it (SPEC XDS §1.6, file names of §6.2).
// Plain, structured-clonable data. Its key is `namespace/hostname`.
import type { GatewayAddress, PortMap } from './workload.ts'

/** An address on a network; '' is the default network. */
export interface NetworkAddress {
  readonly network: string
  readonly ip: string
}

/** A virtual range: every address in it is the service. `cidr` is canonical. */
export interface NetworkCidr {
  readonly network: string
  readonly cidr: string
}

export interface WeightedWaypoint {
  readonly destination: GatewayAddress
  readonly weight: number
}

/** What an endpoint has in common with the client, from coarse to fine. */
export type RoutingScope = 'Region' | 'Zone' | 'Subzone' | 'Node' | 'Cluster' | 'Network'

/**
 * Standard: every endpoint; Strict: only those that match all preferences; Failover: the best there are;
 * Passthrough: as Standard, and without an endpoint the original address is dialled.
 */
export type LoadBalancerMode = 'Standard' | 'Strict' | 'Failover' | 'Passthrough'

export interface LoadBalancer {
  readonly routingPreferences: readonly RoutingScope[]
  readonly mode: LoadBalancerMode
  readonly healthPolicy: 'OnlyHealthy' | 'AllowAll'
}

/** Null means "whatever the endpoint has". */
export type IpFamilies = 'IPv4' | 'IPv6' | 'Dual' | null

/** What a port is declared to speak, by the names of Istio's AppProtocol. */
export type AppProtocol = 'HTTP11' | 'HTTP2' | 'GRPC' | 'TCP' | 'TLS'

/** One service. */
export interface Service {
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  readonly vips: readonly NetworkAddress[]
  readonly cidrVips: readonly NetworkCidr[]
  readonly ports: PortMap
  /** Ports by the names that SRV questions call them by; those without a name are not in it. */
  readonly portNames: Readonly<Record<string, number>>
  /** By port; those that nobody has declared are not in it. */
  readonly appProtocols: Readonly<Record<number, AppProtocol>>
  /** Further identities its endpoints may have, `spiffe://…`. */
  readonly subjectAltNames: readonly string[]
  readonly waypoint: GatewayAddress | null
  readonly weightedWaypoints: readonly WeightedWaypoint[]
  readonly loadBalancer: LoadBalancer | null
  readonly ipFamilies: IpFamilies
  /** Wins among services of one host or VIP when the client's namespace has none. */
  readonly canonical: boolean
  /** `Namespace`: only clients of its namespace see it. */
  readonly visibility: 'Public' | 'Namespace'
}

/** What is said when nothing is said. */
export const SERVICE_DEFAULTS: Service = {
  name: '',
  namespace: '',
  hostname: '',
  vips: [],
  cidrVips: [],
  ports: {},
  portNames: {},
  appProtocols: {},
  subjectAltNames: [],
  waypoint: null,
  weightedWaypoints: [],
  loadBalancer: null,
  ipFamilies: null,
  canonical: false,
  visibility: 'Public',
}

/** `namespace/hostname`. */
export function serviceKey(service: { readonly namespace: string; readonly hostname: string }): string {
  return `${service.namespace}/${service.hostname}`
}
