// SPDX-License-Identifier: Apache-2.0
// What a parentRef of a route names: services with a waypoint, or why none. SPEC GATEWAY-API ParentReference.
import type { FindingCode } from '../finding-codes.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ServicesResult } from '../service-stage.ts'
import type { WaypointRequest } from '../waypoint-request.ts'
import { isMeantFor, type Waypoints } from '../waypoints.ts'
import type { ParentRef } from './gateway-route.ts'
import type { AcceptedReason } from './route-state.ts'

/** A service that a route is for. */
export interface AttachedService {
  readonly info: ServiceInfo
  /** 0: all. */
  readonly port: number
}

/** What a parentRef comes to. */
export interface FoundParent {
  readonly services: readonly AttachedService[]
  /** Why there are none. */
  readonly problem: ParentProblem | null
  /** It is for us to say in the status what became of it. */
  readonly isOurs: boolean
}

export interface ParentProblem {
  readonly code: FindingCode
  readonly reason: AcceptedReason
  readonly message: string
  readonly fix: string
}

const GATEWAY_GROUP = 'gateway.networking.k8s.io'
const ISTIO_GROUP = 'networking.istio.io'

/** Where parents are looked for. */
export interface ParentWorld {
  readonly services: ServicesResult
  readonly waypoints: Waypoints
}

/** null: a parent of a kind that is somebody else's. */
export function findParent(parent: ParentRef, world: ParentWorld): FoundParent | null {
  const key = `${parent.namespace}/${parent.name}`
  const { services, waypoints } = world
  switch (`${parent.group}/${parent.kind}`) {
    case '/Service':
    case 'core/Service': {
      const info = services.byName.get(key)
      return info === undefined ? missing('Service', key) : attached([info], parent, world)
    }
    case `${ISTIO_GROUP}/ServiceEntry`: {
      const entry = services.entries.get(key)
      return entry === undefined ? missing('ServiceEntry', key) : attached(entry.infos, parent, world)
    }
    case `${GATEWAY_GROUP}/Gateway`: {
      if (!waypoints.isOurs({ namespace: parent.namespace, name: parent.name })) return null
      const message = `the Gateway ${key} is a waypoint: no listener of it takes routes`
      const fix = 'name the Services that the route is for'
      return refused('ROUTE_NOT_ATTACHED', 'NotAllowedByListeners', message, fix, true)
    }
    default:
      return null
  }
}

function missing(kind: string, key: string): FoundParent {
  const message = `there is no ${kind} ${key}`
  return refused('ROUTE_NOT_ATTACHED', 'NoMatchingParent', message, 'create it, or mend the name', false)
}

function refused(
  code: FindingCode,
  reason: AcceptedReason,
  message: string,
  fix: string,
  isOurs: boolean,
): FoundParent {
  return { services: [], problem: { code, reason, message, fix }, isOurs }
}

function attached(infos: readonly ServiceInfo[], parent: ParentRef, world: ParentWorld): FoundParent {
  const behind = infos.filter((info) => waypointOf(info, world.services) !== null)
  const isOurs = behind.some((info) => isOfOurs(info, world))
  const called = `${parent.namespace}/${parent.name}`
  if (behind.length === 0) {
    const message = `${called} has no waypoint: its traffic is not routed`
    const fix = 'annotate it with sidestep.dev/waypoint: auto'
    return refused('ROUTE_NEEDS_WAYPOINT', 'NoMatchingParent', message, fix, false)
  }
  if (parent.isUnreadable) {
    const message = 'the parentRef cannot be read'
    return refused(
      'ROUTE_NOT_ATTACHED',
      'UnsupportedValue',
      message,
      'mend what the other findings name',
      isOurs,
    )
  }
  const services = behind.flatMap((info) => {
    const port = portOf(info, parent)
    return port === null ? [] : [{ info, port }]
  })
  if (services.length > 0) return { services, problem: null, isOurs }
  const wanted = parent.sectionName === '' ? String(parent.port) : parent.sectionName
  const message = `${called} has no port ${wanted}`
  return refused('ROUTE_NOT_ATTACHED', 'NoMatchingParent', message, 'use a port that it has', isOurs)
}

/** 0: all; null: it has none. SPEC GATEWAY-API: sectionName is the name of a port, and both must be true. */
function portOf({ ports }: ServiceInfo, { port, sectionName }: ParentRef): number | null {
  if (port === 0 && sectionName === '') return 0
  const found = ports.find(
    ({ servicePort, name }) =>
      (port === 0 || servicePort === port) && (sectionName === '' || name === sectionName),
  )
  return found?.servicePort ?? null
}

/** The waypoint that has, or will have, the traffic of a service; null: none. */
export function waypointOf(info: ServiceInfo, { waypoints }: ServicesResult): WaypointRequest | null {
  const { request = null, primary = null } = waypoints.get(info) ?? {}
  if (request === null || primary === null || !isMeantFor(request, primary)) return null
  const isThere = primary.address !== null || primary.problem?.code === 'WAYPOINT_NOT_READY'
  return isThere ? request : null
}

function isOfOurs(info: ServiceInfo, { services, waypoints }: ParentWorld): boolean {
  const request = waypointOf(info, services)
  return request !== null && waypoints.isOurs(request.primary)
}
