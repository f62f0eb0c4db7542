// SPDX-License-Identifier: Apache-2.0
// What a pod's node does with a connection that does not come from a waypoint of the pod, for people. Pure.
import { DestinationPicker } from '../../mesh/balance/destination-picker.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { WaypointGuard } from '../../mesh/model/waypoint-guard.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { type Arrival, decideEntrance, waypointNames } from './entrance.ts'
import { type ExplainedSide, refused } from './explained-side.ts'

/** Where it is diverted to and why, or why that is refused; null: it goes straight to the application. */
export function explainEntrance(guard: WaypointGuard | null, arrival: Arrival): ExplainedSide | null {
  const entrance = decideEntrance(guard, arrival)
  if (isRefusal(entrance)) return refused(entrance)
  if (entrance.kind === 'direct') return null
  const { service } = entrance.way
  const whose = service === null ? 'the pod itself' : `its service ${service.namespace}/${service.name}`
  const name = `${waypointNames({ ways: [entrance.way] })} of ${whose}`
  const picker = new DestinationPicker(entrance.view, () => 0)
  const waypoint = picker.pickWaypoint()
  if (waypoint !== null && waypoint.refusal !== null) return refused(waypoint.refusal)
  const instance = waypoint === null ? null : picker.pickInstance(waypoint, null)
  const at = instance === null ? '' : ` at ${formatSocketAddress(instance.dial.ip, instance.dial.port)}`
  const reason = `its node diverts it to ${name}${at}, because it does not come from there`
  return { code: 'OK', reason, fix: '', policy: '' }
}
