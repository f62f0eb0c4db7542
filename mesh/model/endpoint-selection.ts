// SPDX-License-Identifier: Apache-2.0
// Which workloads may take a connection to a service or waypoint, in which order of preference, and how each is reached:
// plainly, through a tunnel, or through the gateway of its network and a tunnel inside that one. Pure.
// SPEC HBONE §4.1 (endpoint selection), §3.6 (other networks).
import { type Refusal, refuse } from '../errors/refusal.ts'
import { formatSocketAddress, isIpv6, type SocketAddress } from '../net/address.ts'
import { HBONE_PORT } from '../net/mesh-ports.ts'
import type { Endpoint } from './address-index.ts'
import type { Candidate } from './destination.ts'
import type { MeshState } from './mesh-state.ts'
import { localityRank, REFUSED_RANK } from './preference.ts'
import { type Service, serviceKey } from './service.ts'
import { formatGateway, type GatewayAddress, identityOf, type Workload } from './workload.ts'
import { workloadFacts } from './workload-facts.ts'

/** Who asks for what. */
export interface Asked {
  readonly state: MeshState
  readonly source: Workload
  /** Of this node. */
  readonly network: string
  /** The original destination. */
  readonly to: SocketAddress
  /** Host name of the service that was addressed; null: it was none. */
  readonly hostname: string | null
}

/** Who may take a connection, best first, or why nobody may. */
export interface Selection {
  readonly candidates: readonly Candidate[]
  readonly refusal: Refusal | null
}

/** A gateway instance that is preferred less comes right behind the best one, before the next rank of endpoints. */
const GATEWAY_RANK_STEP = 1 / 64

/** A member of a service that its health, its place and its ports allow. */
interface Eligible {
  readonly workload: Workload
  readonly port: number
  readonly rank: number
}

/** The endpoints of the service that was asked for. */
export function selectEndpoints(asked: Asked, service: Service): Selection {
  const { to } = asked
  // SPEC HBONE §4.1 selection 1: the service must list the port.
  const servicePort = service.ports[to.port]
  if (servicePort === undefined)
    return none(refuse('NO_SUCH_PORT', `${serviceKey(service)} has no port ${to.port}`))
  return select(asked, service, {
    portOf: (endpoint) => targetPort(endpoint, servicePort, to.port),
    make: ({ workload, port, rank }, ip) => direct(workload, ip, port, rank, service.subjectAltNames),
  })
}

/** The instances of a waypoint of what was asked for. */
export function selectWaypoint(asked: Asked, found: Service | Workload, gateway: GatewayAddress): Selection {
  const authority = formatSocketAddress(asked.to.ip, asked.to.port)
  if ('uid' in found) {
    if (found.network !== asked.source.network)
      return none(refuse('NETWORK_GATEWAY', `network ${found.network}`))
    return directHop(found, asked.to.ip, gateway, authority)
  }
  return select(asked, found, {
    portOf: ({ ports, workload }) => {
      const mapped = ports[gateway.hboneMtlsPort] || found.ports[gateway.hboneMtlsPort] || 0
      // SPEC HBONE §4.1: a missing mapping is allowed only behind an application tunnel, then the port itself.
      return mapped || (workload.applicationTunnel === null ? 0 : gateway.hboneMtlsPort)
    },
    make: ({ workload, port, rank }, ip) =>
      hop(workload, { ip, port }, rank, authority, found.subjectAltNames),
  })
}

/** The workload that was asked for by its address. */
export function direct(
  workload: Workload,
  ip: string,
  port: number,
  rank: number,
  subjectAltNames: readonly string[],
): Candidate {
  // SPEC HBONE §4.1 rows 8–9: HBONE to podIP:15008 with authority podIP:targetPort, or plain TCP there.
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
    inner: null,
    workload: workloadFacts(workload),
  }
}

/** Nobody. */
export function none(refusal: Refusal): Selection {
  return { candidates: [], refusal }
}

interface HowToReach {
  /** 0: the endpoint does not serve what is asked for. */
  portOf(endpoint: Endpoint): number
  make(eligible: Eligible, ip: string): Candidate
}

function select(asked: Asked, service: Service, { portOf, make }: HowToReach): Selection {
  const { state, source, to } = asked
  const candidates: Candidate[] = []
  const far: Eligible[] = []
  for (const eligible of eligibleOf(asked, service, portOf)) {
    const { workload } = eligible
    if (workload.network !== source.network) {
      far.push(eligible)
      continue
    }
    const ip = endpointIp(workload, service, to.ip)
    if (ip !== undefined) candidates.push(make(eligible, ip))
  }
  // SPEC-DEVIATION: row 6 picks first and fails afterwards; who cannot be reached, because no gateway is known, is no
  // candidate while others are.
  const beyond = far.length === 0 ? null : throughGateways(asked, service, far)
  candidates.push(...(beyond?.candidates ?? []))
  if (candidates.length > 0) return { candidates: candidates.sort((a, b) => b.rank - a.rank), refusal: null }
  if (beyond !== null) return beyond
  const all = state.endpointsOf(service)
  const unhealthy = all.filter((endpoint) => !isHealthyEnough(service, endpoint.workload)).length
  return none(
    refuse('NO_ENDPOINT', `${serviceKey(service)}: ${all.length} endpoints, ${unhealthy} unhealthy`),
  )
}

function eligibleOf(asked: Asked, service: Service, portOf: HowToReach['portOf']): Eligible[] {
  const { state, source } = asked
  const eligible: Eligible[] = []
  for (const endpoint of state.endpointsOf(service)) {
    const { workload } = endpoint
    // SPEC HBONE §4.1 selection 2, and XDS §1.6: a capacity of 0 is never picked.
    if (!isHealthyEnough(service, workload) || workload.capacity === 0) continue
    const rank = localityRank(service.loadBalancer, source, workload)
    const port = portOf(endpoint)
    if (rank !== REFUSED_RANK && port !== 0) eligible.push({ workload, port, rank })
  }
  return eligible
}

function isHealthyEnough(service: Service, workload: Workload): boolean {
  return workload.status !== 'Unhealthy' || service.loadBalancer?.healthPolicy === 'AllowAll'
}

// SPEC HBONE §4.1 selection 5: endpoint map > service target port > application tunnel with the service port.
function targetPort({ workload, ports }: Endpoint, serviceTarget: number, port: number): number {
  const own = ports[port] ?? 0
  if (own !== 0) return own
  if (serviceTarget !== 0) return serviceTarget
  return workload.applicationTunnel === null ? 0 : port
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

/** A waypoint or gateway instance. SPEC HBONE §3.8: always HBONE, regardless of the workload's own protocol. */
function hop(
  workload: Workload,
  dial: SocketAddress,
  rank: number,
  authority: string,
  subjectAltNames: readonly string[],
): Candidate {
  const expectedIdentities = [identityOf(workload), ...subjectAltNames]
  const candidate = direct(workload, dial.ip, dial.port, rank, subjectAltNames)
  return { ...candidate, protocol: 'HBONE', dial, authority, expectedIdentities }
}

/** A workload that is referred to itself. SPEC HBONE §4.1: the port of the reference is used as it is. */
function directHop(
  workload: Workload,
  nearIp: string,
  gateway: GatewayAddress,
  authority: string,
): Selection {
  const { workloadIps } = workload
  const { destination } = gateway
  const asked = destination.kind === 'address' ? destination.ip : nearIp
  const ip =
    workloadIps.find((each) => each === asked) ??
    workloadIps.find((each) => isIpv6(each) === isIpv6(nearIp)) ??
    workloadIps[0]
  if (ip === undefined) return none(refuse('NO_ENDPOINT', withoutAddress(workload)))
  const dial = { ip, port: gateway.hboneMtlsPort }
  return { candidates: [{ ...hop(workload, dial, 0, authority, []), capacity: 1 }], refusal: null }
}

/** SPEC-DEVIATION: Istio's ztunnel asks DNS for a name that is all there is; we refuse what cannot be told apart by address. */
function withoutAddress({ uid, hostname }: Workload): string {
  return hostname === '' ? `${uid} has no address` : `${uid} has no address, only the host name ${hostname}`
}

/** Endpoints of one service behind one gateway: one way, because the gateway is only told the service. */
interface Beyond {
  readonly gateway: GatewayAddress
  rank: number
  capacity: number
}

/**
 * SPEC HBONE §3.6: endpoints of another network are reached by the gateway of their network: a tunnel to it, and inside
 * that one another, of the same authority, to whoever the gateway chooses, who must be one of the service's identities.
 */
function throughGateways(asked: Asked, service: Service, far: readonly Eligible[]): Selection {
  const { to, hostname, network } = asked
  const groups = new Map<string, Beyond>()
  for (const { workload, rank } of far) {
    const gateway = workload.networkGateway
    if (gateway === null) continue
    const key = `${formatGateway(gateway)}|${gateway.hboneMtlsPort}`
    const group = groups.get(key) ?? { gateway, rank, capacity: 0 }
    groups.set(key, group)
    group.rank = Math.max(group.rank, rank)
    group.capacity += workload.capacity
  }
  const count = `${far.length} endpoints in other networks`
  if (groups.size === 0) return none(refuse('NETWORK_GATEWAY', `${count}, no gateway`))
  if (hostname === null) return none(refuse('NETWORK_GATEWAY', `${count}, and no service was addressed`))
  // SPEC-DEVIATION: with no identity to expect, Istio's ztunnel would take whoever answers behind the gateway.
  if (service.subjectAltNames.length === 0)
    return none(
      refuse('NETWORK_GATEWAY', `${count}, and ${serviceKey(service)} names no identities of theirs`),
    )
  const inner = { expectedIdentities: service.subjectAltNames, forwardedNetwork: network }
  const authority = formatSocketAddress(hostname, to.port)
  const candidates: Candidate[] = []
  let refusal: Refusal | null = null
  for (const { gateway, rank, capacity } of groups.values()) {
    const found = selectGateway(asked, gateway, authority)
    refusal ??= found.refusal
    const best = found.candidates[0]?.rank ?? 0
    for (const instance of found.candidates) {
      const share = instance.capacity / totalOf(found.candidates, instance.rank)
      const behind = (best - instance.rank) * GATEWAY_RANK_STEP
      candidates.push({ ...instance, rank: rank - behind, capacity: capacity * share, inner })
    }
  }
  return { candidates, refusal }
}

function totalOf(candidates: readonly Candidate[], rank: number): number {
  return candidates.reduce((sum, each) => (each.rank === rank ? sum + each.capacity : sum), 0)
}

/** The instances of a gateway, wherever they are. */
function selectGateway(asked: Asked, gateway: GatewayAddress, authority: string): Selection {
  const { state, source, to } = asked
  const name = formatGateway(gateway)
  const found = state.resolveGateway(gateway, source.namespace)
  if (found === undefined)
    return none(refuse('NETWORK_GATEWAY', `the gateway ${name} is no service or workload of the mesh`))
  if ('uid' in found) {
    const hops = directHop(found, to.ip, gateway, authority)
    return hops.refusal === null
      ? hops
      : none(refuse('NETWORK_GATEWAY', `the gateway ${name}: ${hops.refusal.detail}`))
  }
  const port = gateway.hboneMtlsPort
  const listed = found.ports[port]
  const portOf = ({ ports }: Endpoint): number => (listed === undefined ? 0 : ports[port] || listed || 0)
  const candidates: Candidate[] = []
  for (const { workload, port: target, rank } of eligibleOf(asked, found, portOf)) {
    const ip = endpointIp(workload, found, to.ip)
    if (ip === undefined) continue
    candidates.push(hop(workload, { ip, port: target }, rank, authority, found.subjectAltNames))
  }
  if (candidates.length === 0)
    return none(refuse('NETWORK_GATEWAY', `${name} has no endpoint for port ${port}`))
  return { candidates: candidates.sort((a, b) => b.rank - a.rank), refusal: null }
}
