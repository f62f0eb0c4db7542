// SPDX-License-Identifier: Apache-2.0
// Which services concern a waypoint, by the service account that it runs under: nobody is told the routes of others.
import { type ConfigView, kindKey } from '../../watch/config-object.ts'
import { gatewayTarget } from '../requests/request-stage.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ServicesResult } from '../service-stage.ts'
import type { WaypointScope } from '../translation.ts'
import { type WaypointName, waypointKey } from '../waypoint-request.ts'
import { waypointOf } from './route-parents.ts'

/** Principals of the pods of a waypoint: `<trust domain>/ns/<namespace>/sa/<account>`. */
export type IdentitiesOf = (name: WaypointName) => readonly string[]

const NONE: ReadonlySet<string> = new Set()
const GATEWAY = kindKey('gateway.networking.k8s.io', 'Gateway')

/** By `<namespace>/<service account>`. */
export function waypointScopes(
  view: ConfigView,
  services: ServicesResult,
  backends: ReadonlyMap<string, readonly string[]>,
  identitiesOf: IdentitiesOf,
): ReadonlyMap<string, WaypointScope> {
  const served = new Map<string, Set<string>>()
  for (const info of services.waypoints.keys())
    for (const account of accountsOf(info, services, identitiesOf)) {
      const keys = served.get(account) ?? new Set()
      served.set(account, keys)
      keys.add(info.key)
    }
  const gateways = new Map<string, string[]>()
  for (const { metadata } of view.list(GATEWAY))
    for (const account of new Set(identitiesOf(metadata).map(accountOf)))
      gateways.set(account, [...(gateways.get(account) ?? []), gatewayTarget(waypointKey(metadata))])
  return new Map(
    [...new Set([...served.keys(), ...gateways.keys()])].map((account) => {
      const keys = served.get(account) ?? NONE
      const used = new Set([...keys].flatMap((key) => [key, ...(backends.get(key) ?? [])]))
      const guarded = [...keys, ...(gateways.get(account) ?? [])].toSorted()
      return [account, { served: [...keys].toSorted(), used: [...used].toSorted(), guarded }]
    }),
  )
}

function accountsOf(info: ServiceInfo, services: ServicesResult, identitiesOf: IdentitiesOf): string[] {
  const request = waypointOf(info, services)
  if (request === null) return []
  const names = request.canary === null ? [request.primary] : [request.primary, request.canary]
  return names.flatMap(identitiesOf).map(accountOf)
}

function accountOf(principal: string): string {
  const [, namespace = '', , account = ''] = principal.slice(principal.indexOf('/ns/')).split('/').slice(1)
  return `${namespace}/${account}`
}
