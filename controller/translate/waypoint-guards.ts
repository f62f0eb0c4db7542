// SPDX-License-Identifier: Apache-2.0
// Nobody goes round a waypoint (design.md, "Rules of behaviour" 1): a workload behind one refuses whoever is not that
// waypoint. A ztunnel that diverts such connections instead is not sent these policies, where the waypoint is one of ours:
// another would take the pod that diverts for the caller.
// They are DENYs: an ALLOW would add to what other policies allow, and alone refuse what no policy is about.
import { create, equals } from '@bufbuild/protobuf'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
  Scope,
} from '../../proto/generated/istio/authorization_pb.js'
import { Memo } from './memo.ts'
import { waypointOnlyName } from './policy-names.ts'
import type { ServiceInfo } from './service-info.ts'
import { boundWaypoints, type ServiceWaypoint } from './services.ts'
import { type WaypointName, waypointKey } from './waypoint-request.ts'
import type { Waypoints } from './waypoints.ts'
import type { WorkloadWaypoint } from './workload-parts.ts'

/** The policies of one mesh, across translations. */
export class WaypointGuards {
  readonly #waypoints: Waypoints
  readonly #guards = new Memo<Authorization>(keepEqualGuard)

  constructor(waypoints: Waypoints) {
    this.#waypoints = waypoints
  }

  /** Begins a translation. */
  sweep(): void {
    this.#guards.sweep()
  }

  /** Keeps a policy that is known to be the same. */
  touch(guard: Authorization | null): void {
    if (guard !== null) this.#guards.touch(guardKey(guard))
  }

  /**
   * The policy of a workload; null when it is behind no waypoint. Behind several, by several services, it lets all of
   * them in. The same object as long as they and their principals are the same.
   */
  of(
    namespace: string,
    waypoint: WorkloadWaypoint | null,
    services: readonly ServiceInfo[],
    bindings: ReadonlyMap<ServiceInfo, ServiceWaypoint>,
  ): Authorization | null {
    const names = new Map<string, WaypointName>()
    const add = (name: WaypointName): unknown => names.set(waypointKey(name), name)
    if (waypoint !== null && waypoint.binding.address !== null) add(waypoint.request.primary)
    for (const info of services) for (const name of boundWaypoints(bindings.get(info))) add(name)
    if (names.size === 0) return null
    const sorted = [...names].toSorted(([left], [right]) => (left < right ? -1 : 1))
    const principals = sorted.map(([, name]) => this.#waypoints.identitiesOf(name))
    const name = waypointOnlyName(
      sorted.map(([key]) => key),
      sorted.every(([, each]) => this.#waypoints.isOurs(each)),
    )
    return this.#guards.get(guardKey({ namespace, name }), principals, () =>
      create(AuthorizationSchema, {
        name,
        namespace,
        scope: Scope.WORKLOAD_SELECTOR,
        action: Action.DENY,
        rules: [{ clauses: clausesFor(principals.flat()) }],
      }),
    )
  }
}

/** Keys of the services of a workload behind a waypoint that have none: nobody reaches it by those. In order. */
export function unreachableServices(
  guard: Authorization | null,
  services: readonly ServiceInfo[],
  bindings: ReadonlyMap<ServiceInfo, ServiceWaypoint>,
): readonly string[] {
  if (guard === null) return []
  const without = services.filter(
    (info) => info.ports.length > 0 && boundWaypoints(bindings.get(info)).length === 0,
  )
  return without.map(({ key }) => key).toSorted()
}

/** `<namespace>/<name>`, as workloads name it. */
export function guardKey({ namespace, name }: Pick<Authorization, 'namespace' | 'name'>): string {
  return `${namespace}/${name}`
}

// Without a principal there is nobody to let in: a match that says nothing would let everybody in (SPEC HBONE §4.4).
function clausesFor(principals: readonly string[]) {
  const notPrincipals = principals.map((value) => ({ matchType: { case: 'exact' as const, value } }))
  return notPrincipals.length === 0 ? [] : [{ matches: [{ notPrincipals }] }]
}

function keepEqualGuard(old: Authorization, fresh: Authorization): Authorization {
  return equals(AuthorizationSchema, old, fresh) ? old : fresh
}
