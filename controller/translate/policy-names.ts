// SPDX-License-Identifier: Apache-2.0
// Names of policies on the wire. Kubernetes' names have no underscore: what has one is made by the mesh.
import { createHash } from 'node:crypto'
import { UNDIVERTED_SUFFIX, WAYPOINT_ONLY_PREFIX } from '../../mesh/model/reserved-policy.ts'
import { stableHash } from './stable-hash.ts'

export {
  CONVERTED_PEER_PREFIX,
  NEEDS_L7_PREFIX,
  STATIC_STRICT_NAME,
  WAYPOINT_ONLY_PREFIX,
} from '../../mesh/model/reserved-policy.ts'

const MAX_NAMED_PORTS = 8 // in a name
const KUBERNETES_NAME = /^[a-z0-9][a-z0-9.-]{0,252}$/

/**
 * The name of an object as part of a policy's name. One that Kubernetes would not have accepted could be that of another
 * policy, so it is replaced by a name that follows from it.
 */
export function wireName(name: string): string {
  return KUBERNETES_NAME.test(name)
    ? name
    : `sidestep_renamed_${stableHash(name).toString(16)}_${name.length}`
}

/**
 * The name for a set of waypoints, `<namespace>/<name>` each, in order: readable for one, short for many.
 * `isDivertible`: all of them know diverted connections.
 */
export function waypointOnlyName(waypoints: readonly string[], isDivertible: boolean): string {
  const [first = '', ...others] = waypoints.map((key) => key.split('/').map(wireName).join('_'))
  const further = others.length === 0 ? '' : `_and_${others.length}_${digestOf(waypoints)}`
  return `${WAYPOINT_ONLY_PREFIX}${first}${further}${isDivertible ? '' : UNDIVERTED_SUFFIX}`
}

/** The end of a name for a set of ports, in order: readable for a few, short for many. */
export function portsSuffix(ports: readonly number[]): string {
  const isShort = ports.length <= MAX_NAMED_PORTS
  return isShort ? `_${ports.join('_')}` : `_${ports.length}_ports_${digestOf(ports)}`
}

function digestOf(parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join()).digest('hex').slice(0, 32)
}
