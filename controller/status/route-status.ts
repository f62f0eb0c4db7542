// SPDX-License-Identifier: Apache-2.0
// What the status of a route says of each of its parents. SPEC GATEWAY-API RouteStatus. Pure.
import type { RouteState } from '../translate/routes/route-state.ts'
import { WAYPOINT_CONTROLLER } from '../translate/waypoint-class.ts'
import { type ConfigObject, type ConfigView, kindKey, refKey, refOf } from '../watch/config-object.ts'
import { isMap, own } from '../watch/value-mistakes.ts'
import { conditionOf, ROUTE_ACCEPTED, ROUTE_PARTIAL, ROUTE_REFS } from './conditions.ts'
import { routePatch, type StatusPatch, type WantedParent } from './status-patch.ts'

const ROUTES = ['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute'].map((kind) =>
  kindKey('gateway.networking.k8s.io', kind),
)

/** One patch per route that is served by us, or was. */
export function routeStatuses(objects: ConfigView, states: readonly RouteState[]): StatusPatch[] {
  const byObject = new Map(states.map((state) => [refKey(state.object), state]))
  return ROUTES.flatMap((kind) => objects.list(kind)).flatMap((object) => {
    if (object.metadata.isDeleting) return []
    const state = byObject.get(refKey(refOf(object)))
    if (state !== undefined) return [routePatch(object, state.generation, parentsOf(state))]
    // What we said of parents that are no longer ours is taken back.
    return speaksForUs(object) ? [routePatch(object, object.metadata.generation, [])] : []
  })
}

/** True when an entry of a route's parents was written by us. */
export function isOurParent(entry: unknown): boolean {
  return isMap(entry) && own(entry, 'controllerName') === WAYPOINT_CONTROLLER
}

function speaksForUs({ status }: ConfigObject): boolean {
  const parents = own(status, 'parents')
  return Array.isArray(parents) && parents.some(isOurParent)
}

function parentsOf({ parents, badRef, refused }: RouteState): WantedParent[] {
  const refs =
    badRef === null
      ? conditionOf(ROUTE_REFS, 'ResolvedRefs', 'nothing is missing')
      : conditionOf(ROUTE_REFS, badRef.reason, badRef.message)
  return parents.map(({ ref, reason, message }) => ({
    parentRef: ref,
    conditions: [
      conditionOf(ROUTE_ACCEPTED, reason, message),
      refs,
      ...(refused !== null && reason === 'Accepted'
        ? [conditionOf(ROUTE_PARTIAL, 'UnsupportedValue', refused)]
        : []),
    ],
  }))
}
