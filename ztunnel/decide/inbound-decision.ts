// SPDX-License-Identifier: Apache-2.0
// Whether and where an inbound CONNECT goes (SPEC HBONE §4.2). Pure; once per stream in a worker. The order is the
// specification's: destination check, target, policy; then whether it goes through a waypoint first. Only then is the
// application dialled.
import { AuthzConnection } from '../../mesh/authz/connection.ts'
import type { Evaluate, Verdict } from '../../mesh/authz/evaluate.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { SpiffeId } from '../../mesh/identity/spiffe.ts'
import type { InboundView } from '../../mesh/model/inbound.ts'
import { isIpv6, parseIp, type SocketAddress } from '../../mesh/net/address.ts'
import { isMeshPort } from '../../mesh/net/mesh-ports.ts'
import { type Arrival, decideEntrance, type Entrance } from './entrance.ts'

/** One CONNECT. IPs are canonical. */
export interface InboundRequest {
  /** Host of the authority: an address, or a name in lower case, without brackets. */
  readonly host: string
  readonly port: number
  /** Local address of the accepted socket. */
  readonly localIp: string
  /** The TCP peer. */
  readonly sourceIp: string
  /** What the peer proved; null cannot happen over mTLS with a workload certificate. */
  readonly identity: SpiffeId | null
  /** It says that a ztunnel has diverted it before. */
  readonly isDiverted: boolean
  /** The only port of the pod that callers reach; undefined: every one. */
  readonly onlyPort?: number | undefined
}

/** Carry it. */
export interface InboundDecision {
  readonly kind: 'inbound'
  /** The application. */
  readonly dial: SocketAddress
  /** A PROXY v2 header goes first, and says that the connection was to this; null: none. */
  readonly proxiedTo: SocketAddress | null
  /** Keep it: when policies change the connection is evaluated again. */
  readonly connection: AuthzConnection
  readonly verdict: Verdict
  readonly entrance: Entrance
  /** What the entrance was decided for. */
  readonly arrival: Arrival
}

/** Decides one CONNECT. `pod` is null when the pod is enrolled but not configured. */
export function decideInbound(
  pod: InboundView | null,
  request: InboundRequest,
  evaluate: Evaluate,
): InboundDecision | Refusal {
  if (pod === null) return refuse('WORKLOAD_UNKNOWN', request.localIp)
  const named = resolvePort(pod, request)
  if (typeof named !== 'number') return named
  const tunnel = pod.applicationTunnel
  // SPEC HBONE §3.7: the tunnel's port if it has one, else the port asked for.
  const port = tunnel === null || tunnel.port === 0 ? named : tunnel.port
  if (isMeshPort(port)) return refuse('CONNECT_INTERNAL_PORT', `port ${port}`)
  const closed = checkOnlyPort(request.onlyPort, port)
  if (closed !== null) return closed
  // SPEC HBONE §4.4: policies see the local address and the application's port, not what the authority said.
  const connection = new AuthzConnection(request.sourceIp, request.identity, request.localIp, port)
  const verdict = evaluate(connection)
  if (!verdict.allowed) return refuse(verdict.code, verdict.detail)
  const { sourceIp, identity, localIp: ip, isDiverted } = request
  const arrival = { sourceIp, identity, ip, port: named, isDiverted }
  const entrance = decideEntrance(pod.guard, arrival)
  if (isRefusal(entrance)) return entrance
  const proxiedTo = tunnel?.protocol === 'PROXY' ? authorityOf(pod, request) : null
  const dial = { ip: proxiedTo === null ? request.localIp : loopbackOf(request.localIp), port }
  return { kind: 'inbound', dial, proxiedTo, connection, verdict, entrance, arrival }
}

/** Whether a pod that shows one port only is reached at this one. */
export function checkOnlyPort(onlyPort: number | undefined, port: number): Refusal | null {
  if (onlyPort === undefined || onlyPort === port) return null
  return refuse('CONNECT_OWN_PORT', `port ${port}, not ${onlyPort}`)
}

/** The port the authority means, before any tunnel. */
function resolvePort(pod: InboundView, { host, port, localIp }: InboundRequest): number | Refusal {
  const ip = parseIp(host)
  if (ip === undefined) {
    const ports = pod.hosts.get(host)?.ports
    if (ports === undefined) return refuse('HOSTNAME_UNKNOWN', `no service ${host} here`)
    const target = ports.get(port)
    if (target === undefined || target === 0)
      return refuse('NO_SUCH_PORT', `${host} has no port ${port} here`)
    return target
  }
  // SPEC HBONE §4.2: the authority names the accepted socket's own address, or something this pod stands for.
  if (ip === localIp || pod.applicationTunnel !== null || pod.fronted.has(ip)) return port
  return refuse('CONNECT_DESTINATION', `${ip} is not ${localIp}`)
}

// SPEC HBONE §3.7: the authority's address, or that of the service it names; a service without one is reached at the pod.
function authorityOf(pod: InboundView, { host, port, localIp }: InboundRequest): SocketAddress {
  return { ip: parseIp(host) ?? pod.hosts.get(host)?.vip ?? localIp, port }
}

// SPEC HBONE §3.7: behind PROXY protocol the application listens on loopback, of the family of the target.
function loopbackOf(localIp: string): string {
  return isIpv6(localIp) ? '::1' : '127.0.0.1'
}
