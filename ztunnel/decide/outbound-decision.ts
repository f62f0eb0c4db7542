// SPDX-License-Identifier: Apache-2.0
// Where an outbound connection goes (SPEC HBONE §4.1): through a tunnel, plainly, or nowhere. Pure; once per
// connection in a worker. What does not change from one connection to the next was prepared in the view.

import type { DestinationPicker } from '../../mesh/balance/destination-picker.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Candidate, DestinationView, InnerTunnel, ServiceFacts } from '../../mesh/model/destination.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import { formatSocketAddress, isLoopback, type SocketAddress } from '../../mesh/net/address.ts'
import { isMeshPort, SOCKS5_PORT } from '../../mesh/net/mesh-ports.ts'

/** The pod that connects. Null: enrolled but not configured. */
export interface OutboundSource {
  readonly workload: WorkloadFacts
  /** Port 15080 is the mesh's own only when SOCKS5 is served. */
  readonly isSocks5Enabled: boolean
}

/** Through mTLS and CONNECT. */
export interface TunnelDecision {
  readonly kind: 'hbone'
  /** The next hop: pod, waypoint or gateway. */
  readonly dial: SocketAddress
  readonly authority: string
  /** The peer must prove one of these. */
  readonly expectedIdentities: readonly string[]
  /** Null: the connection ends there. Else the next hop is a gateway of another network. */
  readonly inner: InnerTunnel | null
  /** Uid of the candidate, for `tried`. */
  readonly uid: string
  readonly isWaypoint: boolean
  /** The next hop's workload. */
  readonly workload: WorkloadFacts
  readonly service: ServiceFacts | null
}

/** Without tunnel: the destination is not in the mesh. */
export interface PlainDecision {
  readonly kind: 'plain'
  readonly dial: SocketAddress
  /** Uid of the candidate, for `tried`; '' for passthrough. */
  readonly uid: string
  readonly workload: WorkloadFacts | null
  readonly service: ServiceFacts | null
}

export type OutboundDecision = TunnelDecision | PlainDecision

/**
 * SPEC HBONE §4.1 row 0: a connection to a loopback port of the mesh would come back for ever. Ask before anything
 * is looked up.
 */
export function isRecursive(ip: string, port: number, isSocks5Enabled: boolean): boolean {
  return isMeshPort(port) && (port !== SOCKS5_PORT || isSocks5Enabled) && isLoopback(ip)
}

/**
 * Decides one connection. `tried` holds the uids of candidates that failed before a byte was sent (null at first);
 * with all tried the answer is NO_ENDPOINT or WAYPOINT_NOT_READY.
 */
export function decideOutbound(
  source: OutboundSource | null,
  view: DestinationView,
  picker: DestinationPicker,
  tried: ReadonlySet<string> | null = null,
): OutboundDecision | Refusal {
  if (isRecursive(view.ip, view.port, source?.isSocks5Enabled ?? false)) {
    return refuse('LOOP', `to ${formatSocketAddress(view.ip, view.port)}`)
  }
  if (source === null) return refuse('WORKLOAD_UNKNOWN', 'the source')
  if (view.waypoints.length > 0) return decideWaypoint(view, picker, tried)
  if (view.refusal !== null) return view.refusal
  if (view.kind === 'passthrough') {
    return { kind: 'plain', dial: { ip: view.ip, port: view.port }, uid: '', workload: null, service: null }
  }
  const candidate = picker.pickEndpoint(tried)
  if (candidate === null)
    return refuse('NO_ENDPOINT', tried === null ? '' : `all ${tried.size} tried endpoints failed`)
  if (candidate.protocol === 'HBONE') return tunnelTo(candidate, view.service, false)
  const { dial, uid, workload } = candidate
  return { kind: 'plain', dial, uid, workload, service: view.service }
}

function decideWaypoint(
  view: DestinationView,
  picker: DestinationPicker,
  tried: ReadonlySet<string> | null,
): OutboundDecision | Refusal {
  const waypoint = picker.pickWaypoint()
  if (waypoint === null) return refuse('WAYPOINT_NOT_READY')
  if (waypoint.refusal !== null) return waypoint.refusal
  const instance = picker.pickInstance(waypoint, tried)
  if (instance === null) return refuse('WAYPOINT_NOT_READY', `${waypoint.uid}: every instance failed`)
  return tunnelTo(instance, view.service, true)
}

function tunnelTo(candidate: Candidate, service: ServiceFacts | null, isWaypoint: boolean): TunnelDecision {
  const { dial, authority, expectedIdentities, inner, uid, workload } = candidate
  return { kind: 'hbone', dial, authority, expectedIdentities, inner, uid, isWaypoint, workload, service }
}
