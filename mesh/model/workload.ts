// SPDX-License-Identifier: Apache-2.0
// A workload as every configuration source describes it (SPEC XDS §1.6, file names of §6.2).
// Plain, structured-clonable data: it crosses to workers. IPs are canonical; what is unset is '' or null.
import { formatSpiffeId } from '../identity/spiffe.ts'

/** How traffic reaches the workload: plain TCP or an HBONE tunnel. */
export type WorkloadProtocol = 'TCP' | 'HBONE'
/** `HostNetwork` workloads share their node's IP and are never found by IP. */
export type NetworkMode = 'Standard' | 'HostNetwork'
export type WorkloadStatus = 'Healthy' | 'Unhealthy'

/** Where a waypoint or gateway is: a service or workload by host name, or by address. */
export type GatewayDestination =
  | { readonly kind: 'hostname'; readonly namespace: string; readonly hostname: string }
  | { readonly kind: 'address'; readonly network: string; readonly ip: string }

/** A reference to a waypoint or gateway. */
export interface GatewayAddress {
  readonly destination: GatewayDestination
  readonly hboneMtlsPort: number
}

/** The target behind a tunnel is another port, and may be told the source by PROXY protocol. */
export interface ApplicationTunnel {
  readonly protocol: 'NONE' | 'PROXY'
  /** 0 keeps the port asked for. */
  readonly port: number
}

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

/** Service port → target port. Keys are decimal text; a target of 0 is "named or unknown". */
export type PortMap = Readonly<Record<number, number>>

/** One workload. `uid` is its key. */
export interface Workload {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly trustDomain: string
  readonly workloadIps: readonly string[]
  readonly hostname: string
  readonly network: string
  readonly networkMode: NetworkMode
  readonly protocol: WorkloadProtocol
  readonly node: string
  readonly clusterId: string
  readonly locality: Locality
  readonly status: WorkloadStatus
  /** Load-balancing weight; 0 = never picked. */
  readonly capacity: number
  readonly waypoint: GatewayAddress | null
  readonly networkGateway: GatewayAddress | null
  readonly nativeTunnel: boolean
  readonly applicationTunnel: ApplicationTunnel | null
  /** `direct`: connections with others of its node that want it too take no tunnel. '': always one. */
  readonly sameNode: 'direct' | ''
  /** Those that a route or a subset of the mesh names; null: nobody said any. */
  readonly labels: Readonly<Record<string, string>> | null
  /** `namespace/hostname` → its ports on this workload. */
  readonly services: Readonly<Record<string, PortMap>>
  /** Names (`namespace/name`) of the selector policies that apply. */
  readonly authorizationPolicies: readonly string[]
  readonly workloadName: string
  /** `deployment`, `cronjob`, `pod`, `job` or ''. */
  readonly workloadType: string
  readonly canonicalName: string
  readonly canonicalRevision: string
}

/** What is said when nothing is said. */
export const WORKLOAD_DEFAULTS: Workload = {
  uid: '',
  name: '',
  namespace: '',
  serviceAccount: '',
  trustDomain: '',
  workloadIps: [],
  hostname: '',
  network: '',
  networkMode: 'Standard',
  protocol: 'TCP',
  node: '',
  clusterId: '',
  locality: { region: '', zone: '', subzone: '' },
  status: 'Healthy',
  capacity: 1,
  waypoint: null,
  networkGateway: null,
  nativeTunnel: false,
  applicationTunnel: null,
  sameNode: '',
  labels: null,
  services: {},
  authorizationPolicies: [],
  workloadName: '',
  workloadType: '',
  canonicalName: '',
  canonicalRevision: '',
}

/** The workload's identity as text. */
export function identityOf(workload: Workload): string {
  return formatSpiffeId(workload)
}

/** `network/ip` or `namespace/hostname`, as files write it. */
export function formatGateway({ destination }: GatewayAddress): string {
  return destination.kind === 'hostname'
    ? `${destination.namespace}/${destination.hostname}`
    : `${destination.network}/${destination.ip}`
}
