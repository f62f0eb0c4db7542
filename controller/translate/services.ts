// SPDX-License-Identifier: Apache-2.0
// Kubernetes' Services. SPEC HBONE §9.1.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { PORT_NAMES } from '../../mesh/discovery/protocol.ts'
import { ipToBytes } from '../../mesh/net/address.ts'
import {
  IPFamilies,
  type NetworkAddressSchema,
  type Service,
  ServiceSchema,
  Visibility,
} from '../../proto/generated/istio/workload_pb.js'
import { PortNamesSchema } from '../../proto/generated/sidestep/v1/services_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import { appProtocolOf } from './app-protocol.ts'
import { type Balancing, balancingOf } from './balancing.ts'
import { Fields } from './fields.ts'
import type { Notes } from './notes.ts'
import { quote } from './notes.ts'
import { readPlainSelector } from './selectors.ts'
import { MAX_PORT, type ServiceInfo, type ServicePort } from './service-info.ts'
import { requestedWaypoint, type WaypointName, type WaypointRequest } from './waypoint-request.ts'
import type { WaypointBinding, Waypoints } from './waypoints.ts'

const EXPORT_TO = 'networking.istio.io/exportTo'

/** What a Service says of itself; null: it is no service of the mesh. */
export function readService(object: ConfigObject, clusterDomain: string, notes: Notes): ServiceInfo | null {
  const { name, namespace } = object.metadata
  const spec = new Fields(object.spec, 'spec', notes)
  if (spec.raw('type') === 'ExternalName') {
    const message = 'the service is a DNS alias: its traffic is that of the host it names'
    notes.add('SERVICE_EXTERNAL_NAME', 'spec.type', message, 'for a host of the mesh write a ServiceEntry')
    return null
  }
  const hostname = `${name}.${namespace}.svc.${clusterDomain}`
  const ports = spec.items('ports').flatMap(readPort)
  const selector = readPlainSelector(spec, 'selector')
  return { key: `${namespace}/${hostname}`, name, namespace, hostname, object, ports, selector }
}

/** What a service's waypoint came to. */
export interface ServiceWaypoint {
  readonly request: WaypointRequest | null
  readonly primary: WaypointBinding | null
  readonly canary: WaypointBinding | null
}

/** The waypoint that a service asks for; its parts are the same objects as long as nothing changed. */
export function bindService(
  object: ConfigObject,
  namespace: ConfigObject | undefined,
  waypoints: Waypoints,
): ServiceWaypoint {
  const request = requestedWaypoint(object, namespace, null)
  const bind = (name: WaypointRequest['canary']): WaypointBinding | null =>
    name === null ? null : waypoints.bind(name, namespace, object.metadata.namespace, 'service')
  return { request, primary: bind(request?.primary ?? null), canary: bind(request?.canary ?? null) }
}

/** What differs between the kinds that become services. */
export interface ServiceFacts {
  readonly info: ServiceInfo
  readonly addresses: MessageInitShape<typeof NetworkAddressSchema>[]
  readonly balancing: Balancing | undefined
  readonly ipFamilies: IPFamilies
  readonly isCanonical: boolean
  readonly visibility: Visibility
  readonly subjectAltNames: string[]
}

/** The resource for a ztunnel. */
export function serviceMessage(facts: ServiceFacts, waypoint: ServiceWaypoint): Service {
  const { info, balancing } = facts
  const { request, primary, canary } = waypoint
  const isBound = primary !== null && primary.address !== null
  const canaryWeight = canaryWeightOf(waypoint)
  return create(ServiceSchema, {
    name: info.name,
    namespace: info.namespace,
    hostname: info.hostname,
    addresses: facts.addresses,
    ports: info.ports.map(({ servicePort, targetPort, appProtocol }) => ({
      servicePort,
      targetPort: typeof targetPort === 'number' ? targetPort : 0,
      appProtocol,
    })),
    subjectAltNames: facts.subjectAltNames,
    ...(isBound && primary.address !== null ? { waypoint: primary.address } : {}),
    ...(balancing === undefined ? {} : { loadBalancing: balancing }),
    ipFamilies: facts.ipFamilies,
    canonical: facts.isCanonical,
    ingressUseWaypoint: isBound && request?.hasIngress === true,
    weightedWaypoints:
      isBound && primary.address !== null && canary !== null && canary.address !== null && canaryWeight > 0
        ? [
            { destination: primary.address, weight: 100 - canaryWeight },
            { destination: canary.address, weight: canaryWeight },
          ]
        : [],
    visibility: facts.visibility,
    ...portNames(info.ports),
  })
}

/** For SRV questions; Istio's ztunnel reads no extensions of services. */
function portNames(
  ports: readonly ServicePort[],
): Pick<MessageInitShape<typeof ServiceSchema>, 'extensions'> {
  const names = ports.filter(({ name }) => name !== '').map(({ name, servicePort: port }) => ({ name, port }))
  if (names.length === 0) return {}
  return {
    extensions: [{ name: PORT_NAMES, config: anyPack(PortNamesSchema, create(PortNamesSchema, { names })) }],
  }
}

function canaryWeightOf({ request, canary }: ServiceWaypoint): number {
  return canary === null || canary.address === null ? 0 : (request?.canaryWeight ?? 0)
}

/** The waypoints that a service's connections go through. */
export function boundWaypoints(waypoint: ServiceWaypoint | undefined): readonly WaypointName[] {
  const { request = null, primary = null } = waypoint ?? {}
  if (waypoint === undefined || request === null || primary === null || primary.address === null) return []
  const hasCanary = request.canary !== null && canaryWeightOf(waypoint) > 0
  return hasCanary ? [request.primary, request.canary] : [request.primary]
}

/** Notes what is wrong with the waypoint of a service. */
export function noteWaypoint(
  object: ConfigObject,
  namespace: ConfigObject | undefined,
  waypoint: ServiceWaypoint,
  waypoints: Waypoints,
  notes: Notes,
): void {
  requestedWaypoint(object, namespace, notes)
  for (const binding of [waypoint.primary, waypoint.canary]) {
    if (binding !== null) waypoints.note(binding, notes, waypoint.request?.isInherited ?? false)
  }
}

/** A Service with everything that its namespace adds. */
export function serviceFacts(
  info: ServiceInfo,
  namespace: ConfigObject | undefined,
  network: string,
  notes: Notes,
): ServiceFacts {
  const spec = new Fields(info.object.spec, 'spec', notes)
  return {
    info,
    addresses: clusterAddresses(spec, network),
    balancing: balancingOf(info.object, spec, namespace),
    ipFamilies: familiesOf(spec),
    isCanonical: true,
    visibility: visibilityOf(
      exportedTo(info.object),
      info.namespace,
      `metadata.annotations.${EXPORT_TO}`,
      notes,
    ),
    subjectAltNames: [],
  }
}

/** Who may see a host: everybody, or its namespace. What cannot be said is said narrower, with a finding. */
export function visibilityOf(
  exportTo: readonly string[],
  namespace: string,
  path: string,
  notes: Notes,
): Visibility {
  if (exportTo.length === 0 || exportTo.includes('*')) return Visibility.PUBLIC
  if (exportTo.some((each) => each !== '.' && each !== namespace)) {
    const message = `it is visible in ${namespace} only: a list of namespaces cannot be said to ztunnels`
    notes.add('VISIBILITY_NARROWED', path, message, 'use "*" or "."')
  }
  return Visibility.NAMESPACE
}

function exportedTo(object: ConfigObject): readonly string[] {
  const text: unknown = object.metadata.annotations[EXPORT_TO]
  if (typeof text !== 'string') return []
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')
}

function clusterAddresses(spec: Fields, network: string): MessageInitShape<typeof NetworkAddressSchema>[] {
  const listed = spec.texts('clusterIPs').map(({ text, path }) => ({ text, path }))
  const all = listed.length > 0 ? listed : [{ text: spec.text('clusterIP'), path: 'spec.clusterIP' }]
  return all.flatMap(({ text, path }) => {
    if (text === '' || text === 'None') return []
    const address = ipToBytes(text)
    if (address !== undefined) return [{ network, address }]
    spec.notes.add('INVALID_VALUE', path, `${quote(text)} is no address`, 'write an IP address')
    return []
  })
}

function familiesOf(spec: Fields): IPFamilies {
  const families = new Set(spec.texts('ipFamilies').map(({ text }) => text))
  const hasIpv4 = families.has('IPv4')
  if (families.has('IPv6')) return hasIpv4 ? IPFamilies.DUAL : IPFamilies.IPV6_ONLY
  return hasIpv4 ? IPFamilies.IPV4_ONLY : IPFamilies.AUTOMATIC
}

function readPort(port: Fields): ServicePort[] {
  if (port.text('protocol', 'TCP') !== 'TCP') return [] // the mesh carries TCP
  const servicePort = port.integer('port', 1, MAX_PORT)
  if (servicePort === undefined) return []
  const name = port.text('name')
  const raw = port.raw('targetPort')
  const targetPort = typeof raw === 'string' ? raw : (port.integer('targetPort', 0, MAX_PORT) ?? servicePort)
  // Kubernetes writes 0 for "the same".
  const target = targetPort === 0 || targetPort === '' ? servicePort : targetPort
  return [
    { name, servicePort, targetPort: target, appProtocol: appProtocolOf(port.text('appProtocol'), name) },
  ]
}
