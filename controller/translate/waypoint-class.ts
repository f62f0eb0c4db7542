// SPDX-License-Identifier: Apache-2.0
// Names by which a Gateway is known as a waypoint of ours: what provisions them, writes their status and translates them
// uses the same.

/** A Gateway of this class is a waypoint that we run. */
export const WAYPOINT_CLASS = 'sidestep-waypoint'
/** `controllerName` of that class. SPEC GATEWAY-API GatewayClass: a domain with a path, never changed. */
export const WAYPOINT_CONTROLLER = 'sidestep.dev/waypoint-controller'
/** On everything that we made: by whom. Nothing without it, or an owner reference of its Gateway, is changed. */
export const MANAGED_BY = 'sidestep.dev/managed-by'
/** Its value. */
export const MANAGER = 'sidestep-controller'
