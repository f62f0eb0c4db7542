// SPDX-License-Identifier: Apache-2.0
// Whether a connection that a pod's policies let in goes straight to the application, first through a waypoint, or nowhere:
// nobody goes round a waypoint (design.md, "Rules of behaviour" 1; decision 11). Pure; once per connection, and again for
// each that is open when what stands before the pod changes.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { formatDivertedFor } from '../../mesh/hbone/diversion.ts'
import { formatSpiffeId, type SpiffeId } from '../../mesh/identity/spiffe.ts'
import type { DestinationView } from '../../mesh/model/destination.ts'
import type { WaypointGuard, WaypointWay } from '../../mesh/model/waypoint-guard.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { isOfTheEndpoint } from './retry-decision.ts'

/** Who came, and for what. IPs are canonical. */
export interface Arrival {
  /** Null: in plain text. */
  readonly identity: SpiffeId | null
  /** The TCP peer. */
  readonly sourceIp: string
  /** The pod's address. */
  readonly ip: string
  /** As it was asked for, before any application tunnel. */
  readonly port: number
  /** It says that it was diverted before. */
  readonly isDiverted: boolean
}

/** Straight to the application. */
export interface DirectEntrance {
  readonly kind: 'direct'
  /** It comes from a waypoint of the pod. */
  readonly isFromWaypoint: boolean
}

/** To a waypoint, as the pod. */
export interface Detour {
  readonly kind: 'detour'
  /** For OutboundAttempts: the pod's address, with waypoints and without candidates. */
  readonly view: DestinationView
  /** Value of the header. */
  readonly divertedFor: string
  /** Which waypoints, and whose they are. */
  readonly way: WaypointWay
}

export type Entrance = DirectEntrance | Detour

const OPEN: DirectEntrance = { kind: 'direct', isFromWaypoint: false }
const FROM_WAYPOINT: DirectEntrance = { kind: 'direct', isFromWaypoint: true }

/** Decides how a connection enters. Ask the policies first: what they refuse is refused here and now. */
export function decideEntrance(guard: WaypointGuard | null, arrival: Arrival): Entrance | Refusal {
  if (guard === null) return OPEN
  const identity = arrival.identity === null ? '' : formatSpiffeId(arrival.identity)
  if (guard.identities.includes(identity)) return FROM_WAYPOINT
  // Whatever comes back without a waypoint's identity would be sent there again, for ever.
  if (arrival.isDiverted) return refuse('LOOP', `diverted before, and back as ${identity || 'nobody'}`)
  if (guard.addresses.includes(arrival.sourceIp))
    return refuse('LOOP', `from the waypoint's address ${arrival.sourceIp}, as ${identity || 'nobody'}`)
  const way = wayTo(guard, arrival.port)
  if (way === undefined)
    return refuse('WAYPOINT_MISSING', 'the pod is behind a waypoint that is not known yet')
  return detour(way, arrival)
}

/** What becomes of a connection that is open: null, or why it ends. */
export function recheckEntrance(
  guard: WaypointGuard | null,
  arrival: Arrival,
  was: Entrance,
): Refusal | null {
  if (guard === null) return null
  if (was.kind === 'detour') {
    const uids = was.way.waypoints.map(({ uid }) => uid)
    const isStill = guard.ways.some(({ waypoints }) => waypoints.some(({ uid }) => uids.includes(uid)))
    return isStill ? null : refuse('POLICY_CHANGED', `the pod is not behind ${uids.join(' or ')} any more`)
  }
  const now = decideEntrance(guard, arrival)
  // A waypoint that has no pod at the moment cannot be known; what it opened is still its own.
  const isOfWaypoint = now.kind === 'direct' || (was.isFromWaypoint && guard.identities.length === 0)
  return isOfWaypoint ? null : refuse('POLICY_CHANGED', `only through ${waypointNames(guard)}`)
}

/** Why a detour fails; `via` names the pod of the waypoint, '' when none was chosen. What the waypoint itself answers stays. */
export function detourRefusal(refusal: Refusal, via: string): Refusal {
  if (via === '') return refusal
  const { code, detail } = refusal
  const isWaypoints = code !== 'ENDPOINT_REFUSED' && isOfTheEndpoint(code)
  return isWaypoints
    ? refuse('WAYPOINT_UNREACHABLE', `${via}: ${code} ${detail}`)
    : refuse(code, `the waypoint ${via}: ${detail}`)
}

/** The pod's own, as its callers' nodes choose; else of the service that leads to the port; else of any. */
function wayTo({ ways }: WaypointGuard, port: number): WaypointWay | undefined {
  return ways.find(({ service, ports }) => service === null || ports.includes(port)) ?? ways[0]
}

function detour(way: WaypointWay, { identity, ip, port }: Arrival): Detour {
  const authority = formatSocketAddress(ip, port)
  const waypoints = way.waypoints.map((waypoint) => ({
    ...waypoint,
    candidates: waypoint.candidates.map((candidate) => ({ ...candidate, authority })),
  }))
  const view: DestinationView = {
    ...{
      kind: 'workload',
      modelVersion: 0,
      ip,
      port,
      service: null,
      candidates: [],
      waypoints,
      refusal: null,
    },
  }
  return { kind: 'detour', view, divertedFor: formatDivertedFor(identity), way }
}

/** The waypoints before a pod, for people. */
export function waypointNames({ ways }: Pick<WaypointGuard, 'ways'>): string {
  const uids = new Set(ways.flatMap(({ waypoints }) => waypoints.map(({ uid }) => uid)))
  return uids.size === 0 ? 'a waypoint' : `the waypoint ${[...uids].join(' or ')}`
}
