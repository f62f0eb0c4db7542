// SPDX-License-Identifier: Apache-2.0
// What the model says of a target or a cluster, for this waypoint. Pure. SPEC wire-protocols §3.8: a service's address and
// port, a pod's, or a host name and a port.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { parseAuthority } from '../../mesh/hbone/authority.ts'
import { type Candidate, waypointsOf } from '../../mesh/model/destination.ts'
import { direct, selectEndpoints } from '../../mesh/model/endpoint-selection.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { type AppProtocol, type Service, serviceKey } from '../../mesh/model/service.ts'
import { type GatewayAddress, identityOf, type Workload } from '../../mesh/model/workload.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import { parseIp, parseSocketAddress } from '../../mesh/net/address.ts'
import type { RequestPolicies } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { PortRoutes, ServiceRoutes } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestTelemetry } from '../../proto/generated/sidestep/v1/telemetry_pb.js'
import type {
  Subset,
  TrafficPolicy,
  UpstreamPolicy,
} from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import type { ClusterView, EndpointView } from '../upstream/cluster-view.ts'
import { type ClusterFacts, type GuardView, parseClusterName, type TargetView } from './views.ts'

/** The model as a waypoint sees it. */
export interface WaypointModel {
  readonly state: MeshState
  /** The waypoint's own workload. */
  readonly own: Workload
  readonly network: string
  /** By `<namespace>/<hostname>`. */
  readonly routes: ReadonlyMap<string, ServiceRoutes>
  readonly trafficPolicies: ReadonlyMap<string, TrafficPolicy>
  /** By `<namespace>/<hostname>`, and `gateway <namespace>/<name>` for workloads. */
  readonly requestPolicies: ReadonlyMap<string, RequestPolicies>
  /** As requestPolicies. */
  readonly requestTelemetry: ReadonlyMap<string, RequestTelemetry>
  /** A variable of the process; ''. */
  readonly environment: (name: string) => string
}

/** Describes what a CONNECT to `authority` asks for. */
export function describeTarget(model: WaypointModel, authority: string): TargetView {
  const parsed = parseAuthority(authority)
  if ('code' in parsed) return unknown(authority, parsed)
  const { host, port } = parsed
  const { state, own, network } = model
  const ip = parseIp(host)
  if (ip === undefined) {
    const service = state.serviceByHost(host.toLowerCase(), own.namespace)
    return service === undefined
      ? unknown(authority, refuse('HOSTNAME_UNKNOWN', host))
      : describeService(model, authority, service, port)
  }
  const service = state.serviceByVip(network, ip, own.namespace)
  if (service !== undefined) return describeService(model, authority, service, port)
  const workload = state.workloadByIp(network, ip)
  return workload === undefined
    ? unknown(authority, refuse('TARGET_UNSERVED', `${authority} is of no service or workload`))
    : describeWorkload(model, authority, workload, ip, port)
}

function unknown(authority: string, refusal: Refusal): TargetView {
  return { kind: 'unknown', authority, refusal }
}

function describeService(
  model: WaypointModel,
  authority: string,
  service: Service,
  port: number,
): TargetView {
  const { state, own, routes } = model
  const { name, namespace, hostname, ports } = service
  const key = serviceKey(service)
  if (!isServiceOurs(model, service)) return unknown(authority, refuse('TARGET_UNSERVED', key))
  if (ports[port] === undefined)
    return unknown(authority, refuse('NO_SUCH_PORT', `${key} has no port ${port}`))
  const identities = [...new Set(state.endpointsOf(service).map(({ workload }) => identityOf(workload)))]
  return {
    ...{ kind: 'service', authority, name, namespace, hostname, port },
    appProtocol: protocolOf(service, port),
    routes: routesOf(routes.get(key), port),
    guards: guardsFor(model, key, [port]),
    telemetry: telemetryOf(model, [key]),
    identities: identities.filter((identity) => identity !== identityOf(own)).toSorted(),
  }
}

function describeWorkload(
  model: WaypointModel,
  authority: string,
  workload: Workload,
  ip: string,
  port: number,
): TargetView {
  const { state } = model
  const services = Object.entries(workload.services).flatMap(([key, ports]) => {
    const slash = key.indexOf('/')
    const service = state.serviceByKey(key.slice(0, slash), key.slice(slash + 1))
    return service === undefined ? [] : [{ service, ports }]
  })
  const isOurs =
    isReferenceOurs(model, workload.waypoint) || services.some(({ service }) => isServiceOurs(model, service))
  if (!isOurs) return unknown(authority, refuse('TARGET_UNSERVED', `${workload.namespace}/${workload.name}`))
  const appProtocol = protocolOfPort(services, port)
  const candidates = [direct(workload, ip, port, 0, [])]
  const view: ClusterView = {
    ...{ name: authority, endpoints: endpointsOf(candidates), policy: null, gauges: null },
    protocol: versionOf(appProtocol),
  }
  const { name, namespace, hostname } = workload
  const service = { name, namespace, hostname }
  const cluster: ClusterFacts = {
    ...{ kind: 'cluster', view, refusal: null, service, workloads: workloadsOf(candidates) },
  }
  const guards = [
    ...services
      .filter(({ service: each }) => isServiceOurs(model, each))
      .flatMap((each) => guardsFor(model, serviceKey(each.service), portsTo(each, port))),
    ...guardsOfWorkload(model, workload, port),
  ]
  const names = [...gatewayNames(model, workload), ...services.map((each) => serviceKey(each.service))]
  return {
    ...{ kind: 'workload', authority, cluster, guards, appProtocol, identities: [identityOf(workload)] },
    telemetry: telemetryOf(model, names),
  }
}

function guardsFor({ requestPolicies }: WaypointModel, name: string, ports: readonly number[]): GuardView[] {
  const policies = requestPolicies.get(name)
  return policies === undefined ? [] : ports.map((port) => ({ policies, port }))
}

/** Ports of a service that lead to a port of its pod; who comes round the service comes as if to each of them. */
function portsTo({ service, ports }: PodService, port: number): readonly number[] {
  const leading = Object.entries({ ...service.ports, ...ports }).flatMap(([servicePort, target]) => {
    const own = ports[Number(servicePort)] ?? 0
    return (own === 0 ? target : own) === port ? [Number(servicePort)] : []
  })
  return leading.length > 0 ? leading : [port]
}

/** What is for the workloads of the waypoint that it names. */
function guardsOfWorkload(model: WaypointModel, workload: Workload, port: number): GuardView[] {
  return gatewayNames(model, workload).flatMap((name) => guardsFor(model, name, [port]))
}

/** Names of what is for the workloads of the waypoint that one names; none: it is not ours. */
function gatewayNames(model: WaypointModel, { waypoint }: Workload): readonly string[] {
  if (waypoint === null || !isReferenceOurs(model, waypoint)) return []
  const found = model.state.resolveGateway(waypoint, model.own.namespace)
  const isNamed = found !== undefined && !('uid' in found)
  return isNamed
    ? [`gateway ${found.namespace}/${found.name}`]
    : [...new Set([...model.requestPolicies.keys(), ...model.requestTelemetry.keys()])].filter((name) =>
        name.startsWith('gateway '),
      )
}

/** What the first of these names has; what it says of the environment is told as it is here. */
function telemetryOf(
  { requestTelemetry, environment }: WaypointModel,
  names: readonly string[],
): RequestTelemetry | null {
  const found = names.map((name) => requestTelemetry.get(name)).find((each) => each !== undefined)
  const { tracing } = found ?? {}
  if (found === undefined || tracing === undefined) return found ?? null
  const tags = tracing.tags.map((tag) =>
    tag.environment === ''
      ? tag
      : { ...tag, environment: '', value: environment(tag.environment) || tag.value },
  )
  return { ...found, tracing: { ...tracing, tags } }
}

/** A service of a pod, and its ports there. */
interface PodService {
  readonly service: Service
  readonly ports: Readonly<Record<number, number>>
}

/** As the first of the pod's services says that leads to the port. */
function protocolOfPort(services: readonly PodService[], port: number): AppProtocol | null {
  for (const { service, ports } of services)
    for (const [servicePort, target] of Object.entries({ ...service.ports, ...ports })) {
      const own = ports[Number(servicePort)] ?? 0
      if ((own === 0 ? target : own) !== port) continue
      const protocol = protocolOf(service, Number(servicePort))
      if (protocol !== null) return protocol
    }
  return null
}

function protocolOf({ appProtocols }: Service, port: number): AppProtocol | null {
  return appProtocols[port] ?? null
}

function isServiceOurs(model: WaypointModel, service: Service): boolean {
  return waypointsOf(service).some(({ destination }) => isReferenceOurs(model, destination))
}

/** True for a reference that this process is an instance of. */
function isReferenceOurs({ state, own }: WaypointModel, reference: GatewayAddress | null): boolean {
  if (reference === null) return false
  const found = state.resolveGateway(reference, own.namespace)
  if (found === undefined) return false
  if ('uid' in found) return found.uid === own.uid
  return state.endpointsOf(found).some(({ workload }) => workload.uid === own.uid)
}

function routesOf(routes: ServiceRoutes | undefined, port: number): PortRoutes | null {
  if (routes === undefined) return null
  return (
    routes.ports.find((each) => each.port === port) ?? routes.ports.find((each) => each.port === 0) ?? null
  )
}

/** Describes a cluster by its name; `gauges` is shared by all workers. */
export function describeCluster(model: WaypointModel, name: string, gauges: SharedArrayBuffer): ClusterFacts {
  const { service: key, port, subset } = parseClusterName(name)
  const slash = key.indexOf('/')
  const [namespace, hostname] = [key.slice(0, slash), key.slice(slash + 1)]
  const service = model.state.serviceByKey(namespace, hostname)
  if (service === undefined) {
    const view: ClusterView = { name, endpoints: [], policy: null, protocol: 'auto', gauges }
    const refusal = refuse('HOSTNAME_UNKNOWN', key)
    return { kind: 'cluster', view, refusal, service: { name: '', namespace, hostname }, workloads: {} }
  }
  const policies = model.trafficPolicies.get(key)
  const wanted = policies?.subsets.find((each) => each.name === subset)
  const { state, own: source, network } = model
  const to = { ip: service.vips.find((vip) => vip.network === network)?.ip ?? '0.0.0.0', port }
  const selection = selectEndpoints({ state, source, network, to, hostname: service.hostname }, service)
  const isUnknownSubset = subset !== '' && wanted === undefined
  const candidates = isUnknownSubset
    ? []
    : selection.candidates.filter(
        ({ uid, inner }) => inner === null && isOfSubset(state.workloadByUid(uid), wanted),
      )
  const missing = isUnknownSubset
    ? refuse('ROUTE_BROKEN', `${key} has no subset ${subset}`)
    : (selection.refusal ?? refuse('NO_ENDPOINT', `${key}, subset ${subset}`))
  const view: ClusterView = {
    ...{ name, gauges, endpoints: endpointsOf(candidates) },
    policy: policyOf(policies, wanted, port),
    protocol: versionOf(protocolOf(service, port)),
  }
  return {
    ...{ kind: 'cluster', view, refusal: candidates.length > 0 ? null : missing },
    service: { name: service.name, namespace, hostname },
    workloads: workloadsOf(candidates),
  }
}

function endpointsOf(candidates: readonly Candidate[]): EndpointView[] {
  const ranks = [...new Set(candidates.map(({ rank }) => rank))].toSorted((left, right) => right - left)
  return candidates.flatMap(({ uid, rank, protocol, authority, dial, workload, capacity }) => {
    const at = protocol === 'HBONE' ? parseSocketAddress(authority) : dial
    if (at === undefined) return []
    const { ip, port } = at
    const localityRank = ranks.indexOf(rank)
    const { identity } = workload
    return [{ key: uid, ip, port, protocol, identity, node: '', weight: capacity, localityRank, labels: {} }]
  })
}

function workloadsOf(candidates: readonly Candidate[]): Record<string, WorkloadFacts> {
  return Object.fromEntries(candidates.map(({ uid, workload }) => [uid, workload]))
}

/** What is sent to a port that was declared so. */
function versionOf(protocol: AppProtocol | null): ClusterView['protocol'] {
  if (protocol === 'HTTP2' || protocol === 'GRPC') return 'http2'
  return protocol === 'HTTP11' ? 'http1' : 'auto'
}

/** What a port says stands for the whole, and so does what a subset says. */
function policyOf(
  policies: TrafficPolicy | undefined,
  subset: Subset | undefined,
  port: number,
): UpstreamPolicy | null {
  const own = subset?.ports[port] ?? subset?.policy
  return own ?? policies?.ports[port] ?? policies?.policy ?? null
}

function isOfSubset(workload: Workload | undefined, subset: Subset | undefined): boolean {
  if (subset === undefined) return true
  const labels = workload?.labels ?? {}
  return Object.entries(subset.labels).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  )
}
