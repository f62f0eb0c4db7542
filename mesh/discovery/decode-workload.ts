// SPDX-License-Identifier: Apache-2.0
// istio.workload.Address → the model. What Istio's ztunnel refuses is refused here too (SPEC XDS §0.5); what is unset
// gets its default. Pure.
import { fromBinary } from '@bufbuild/protobuf'
import {
  type Address,
  AppProtocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  type Port,
  TunnelProtocol,
  Visibility,
  type GatewayAddress as WireGateway,
  type NetworkAddress as WireNetworkAddress,
  NetworkMode as WireNetworkMode,
  type Service as WireService,
  WorkloadStatus as WireStatus,
  type Workload as WireWorkload,
  WorkloadType,
} from '../../proto/generated/istio/workload_pb.js'
import { PortNamesSchema } from '../../proto/generated/sidestep/v1/services_pb.js'
import { WorkloadLabelsSchema } from '../../proto/generated/sidestep/v1/workloads_pb.js'
import type {
  IpFamilies,
  LoadBalancer,
  NetworkAddress,
  NetworkCidr,
  RoutingScope,
  Service,
} from '../model/service.ts'
import type { GatewayAddress, PortMap, Workload } from '../model/workload.ts'
import { formatIp } from '../net/address.ts'
import { formatCidr } from '../net/cidr.ts'
import { PORT_NAMES, SAME_NODE_DIRECT, WORKLOAD_LABELS } from './protocol.ts'
import { ResourceError } from './resource-error.ts'

export type DecodedAddress =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service }

const NO_NAMES: Readonly<Record<string, number>> = {}
const DEFAULT_TRUST_DOMAIN = 'cluster.local'
const DEFAULT_SERVICE_ACCOUNT = 'default'
const DEFAULT_CLUSTER = 'Kubernetes'

/** @throws ResourceError for what must not be taken. */
export function decodeAddress({ type }: Address): DecodedAddress {
  if (type.case === 'workload') return { kind: 'workload', workload: decodeWorkload(type.value) }
  if (type.case === 'service') return { kind: 'service', service: decodeService(type.value) }
  throw new ResourceError('neither a workload nor a service')
}

function decodeWorkload(wire: WireWorkload): Workload {
  if (wire.uid === '') throw new ResourceError('a workload without uid')
  const { locality, applicationTunnel } = wire
  return {
    uid: wire.uid,
    name: wire.name,
    namespace: wire.namespace,
    serviceAccount: wire.serviceAccount || DEFAULT_SERVICE_ACCOUNT,
    trustDomain: wire.trustDomain || DEFAULT_TRUST_DOMAIN,
    workloadIps: wire.addresses.map(decodeIp),
    hostname: wire.hostname,
    network: wire.network,
    networkMode: wire.networkMode === WireNetworkMode.HOST_NETWORK ? 'HostNetwork' : 'Standard',
    protocol: oneOf('tunnel protocol', wire.tunnelProtocol, {
      [TunnelProtocol.NONE]: 'TCP',
      [TunnelProtocol.HBONE]: 'HBONE',
    }),
    node: wire.node,
    clusterId: wire.clusterId || DEFAULT_CLUSTER,
    locality: {
      region: locality?.region ?? '',
      zone: locality?.zone ?? '',
      subzone: locality?.subzone ?? '',
    },
    status: oneOf('status', wire.status, {
      [WireStatus.HEALTHY]: 'Healthy',
      [WireStatus.UNHEALTHY]: 'Unhealthy',
    }),
    capacity: wire.capacity ?? 1,
    waypoint: decodeGateway(wire.waypoint),
    networkGateway: decodeGateway(wire.networkGateway),
    nativeTunnel: wire.nativeTunnel,
    applicationTunnel:
      applicationTunnel === undefined
        ? null
        : {
            protocol: oneOf('application tunnel', applicationTunnel.protocol, { 0: 'NONE', 1: 'PROXY' }),
            port: applicationTunnel.port & 0xffff,
          },
    labels: decodeLabels(wire),
    sameNode: wire.extensions.some(({ name }) => name === SAME_NODE_DIRECT) ? 'direct' : '',
    services: Object.fromEntries(
      Object.entries(wire.services).map(([key, { ports }]) => {
        if (!key.includes('/')) throw new ResourceError(`service key without a namespace: ${key}`)
        return [key, decodePorts(ports)]
      }),
    ),
    authorizationPolicies: wire.authorizationPolicies,
    workloadName: wire.workloadName,
    workloadType: WorkloadType[wire.workloadType]?.toLowerCase() ?? '',
    canonicalName: wire.canonicalName,
    canonicalRevision: wire.canonicalRevision,
  }
}

function decodeService(wire: WireService): Service {
  if (wire.hostname === '') throw new ResourceError('a service without hostname')
  const vips: NetworkAddress[] = []
  const cidrVips: NetworkCidr[] = []
  for (const address of wire.addresses) {
    const ip = decodeIp(address.address)
    const { network, length } = address
    if (length === undefined || length === address.address.length * 8) vips.push({ network, ip })
    else cidrVips.push({ network, cidr: decodeCidr(address, length) })
  }
  return {
    name: wire.name,
    namespace: wire.namespace,
    hostname: wire.hostname,
    vips,
    cidrVips,
    ports: decodePorts(wire.ports),
    portNames: decodePortNames(wire),
    appProtocols: decodeProtocols(wire.ports),
    subjectAltNames: wire.subjectAltNames.filter((name) => name.startsWith('spiffe://')),
    waypoint: decodeGateway(wire.waypoint),
    weightedWaypoints: wire.weightedWaypoints.map(({ destination, weight }) => {
      const decoded = decodeGateway(destination)
      if (decoded === null) throw new ResourceError('a weighted waypoint without destination')
      return { destination: decoded, weight }
    }),
    loadBalancer: decodeBalancing(wire),
    ipFamilies: decodeFamilies(wire.ipFamilies),
    canonical: wire.canonical,
    // SPEC XDS §0.5: of all enums only this one has a default for what is unknown.
    visibility: wire.visibility === Visibility.NAMESPACE ? 'Namespace' : 'Public',
  }
}

/** What cannot be read says none: routes and subsets that name one do not match. */
function decodeLabels({ extensions }: WireWorkload): Workload['labels'] {
  const config = extensions.find(({ name }) => name === WORKLOAD_LABELS)?.config
  if (config === undefined) return null
  try {
    return fromBinary(WorkloadLabelsSchema, config.value).labels
  } catch {
    return {}
  }
}

/** What cannot be read names no ports: a service is worth more than its SRV records. */
function decodePortNames({ extensions }: WireService): Readonly<Record<string, number>> {
  const config = extensions.find(({ name }) => name === PORT_NAMES)?.config
  if (config === undefined) return NO_NAMES
  try {
    const { names } = fromBinary(PortNamesSchema, config.value)
    return Object.fromEntries(names.map(({ name, port }) => [name.toLowerCase(), port & 0xffff]))
  } catch {
    return NO_NAMES
  }
}

function decodeBalancing({ loadBalancing }: WireService): LoadBalancer | null {
  if (loadBalancing === undefined) return null
  const { routingPreference, mode, healthPolicy } = loadBalancing
  return {
    routingPreferences: routingPreference.map((scope) =>
      oneOf<RoutingScope>('routing scope', scope, {
        [LoadBalancing_Scope.REGION]: 'Region',
        [LoadBalancing_Scope.ZONE]: 'Zone',
        [LoadBalancing_Scope.SUBZONE]: 'Subzone',
        [LoadBalancing_Scope.NODE]: 'Node',
        [LoadBalancing_Scope.CLUSTER]: 'Cluster',
        [LoadBalancing_Scope.NETWORK]: 'Network',
      }),
    ),
    mode: oneOf('balancing mode', mode, {
      [LoadBalancing_Mode.UNSPECIFIED_MODE]: 'Standard',
      [LoadBalancing_Mode.STRICT]: 'Strict',
      [LoadBalancing_Mode.FAILOVER]: 'Failover',
      [LoadBalancing_Mode.PASSTHROUGH]: 'Passthrough',
    }),
    healthPolicy: oneOf('health policy', healthPolicy, {
      [LoadBalancing_HealthPolicy.ONLY_HEALTHY]: 'OnlyHealthy',
      [LoadBalancing_HealthPolicy.ALLOW_ALL]: 'AllowAll',
    }),
  }
}

function decodeFamilies(families: IPFamilies): IpFamilies {
  return oneOf<IpFamilies>('ip families', families, {
    [IPFamilies.AUTOMATIC]: null,
    [IPFamilies.IPV4_ONLY]: 'IPv4',
    [IPFamilies.IPV6_ONLY]: 'IPv6',
    [IPFamilies.DUAL]: 'Dual',
  })
}

function decodeGateway(wire: WireGateway | undefined): GatewayAddress | null {
  if (wire === undefined) return null
  const { destination, hboneMtlsPort } = wire
  const port = hboneMtlsPort & 0xffff
  if (destination.case === 'hostname') {
    const { namespace, hostname } = destination.value
    return { destination: { kind: 'hostname', namespace, hostname }, hboneMtlsPort: port }
  }
  if (destination.case === 'address') {
    const { network, address } = destination.value
    return { destination: { kind: 'address', network, ip: decodeIp(address) }, hboneMtlsPort: port }
  }
  throw new ResourceError('a gateway without destination')
}

/** SPEC XDS §1.6: ports are truncated to 16 bits. */
function decodePorts(ports: readonly Port[]): PortMap {
  return Object.fromEntries(
    ports.map(({ servicePort, targetPort }) => [servicePort & 0xffff, targetPort & 0xffff]),
  )
}

/** One object for all services that declare the same: a mesh has a handful of them. */
const declared = new Map<string, Service['appProtocols']>()
/** Kept of these; further ones have an object of their own. */
const MAX_DECLARED = 1024

/** What we do not know is not declared. */
function decodeProtocols(ports: readonly Port[]): Service['appProtocols'] {
  const entries = ports.flatMap(({ servicePort, appProtocol }) =>
    appProtocol === AppProtocol.UNKNOWN || AppProtocol[appProtocol] === undefined
      ? []
      : [[servicePort & 0xffff, AppProtocol[appProtocol]] as const],
  )
  const key = entries.join()
  const known = declared.get(key)
  if (known !== undefined) return known
  const protocols = Object.fromEntries(entries) as Service['appProtocols'] // as: the names of the enum
  if (declared.size < MAX_DECLARED) declared.set(key, protocols)
  return protocols
}

function decodeIp(bytes: Uint8Array): string {
  const ip = formatIp(bytes)
  if (ip === undefined) throw new ResourceError(`an address of ${bytes.length} bytes`)
  return ip
}

function decodeCidr({ address }: WireNetworkAddress, length: number): string {
  const cidr = formatCidr(address, length)
  if (cidr === undefined) throw new ResourceError(`a prefix of ${length} bits`)
  return cidr
}

function oneOf<T>(what: string, value: number, table: Readonly<Record<number, T>>): T {
  const found = table[value]
  if (found === undefined) throw new ResourceError(`unknown ${what} ${value}`)
  return found
}
