// SPDX-License-Identifier: Apache-2.0
// Which instances this waypoint has, itself among them, and who of them is new: what callers hold open would stay where it is,
// and a new instance would wait for new callers. Pure but for what it remembers.
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import type { Workload } from '../../mesh/model/workload.ts'

/** Uids of the healthy members of every service that `own` is behind: the service of a waypoint. */
export function siblingInstances(state: MeshState, own: Workload): ReadonlySet<string> {
  const siblings = Object.keys(own.services).flatMap((key) => {
    const slash = key.indexOf('/')
    const service = state.serviceByKey(key.slice(0, slash), key.slice(slash + 1))
    return service === undefined ? [] : state.endpointsOf(service).map(({ workload }) => workload)
  })
  return new Set(siblings.filter(({ status }) => status !== 'Unhealthy').map(({ uid }) => uid))
}

/** Remembers instances from one version of the model to the next. */
export class NewInstances {
  /** All that were there and healthy; null: nobody was asked for yet. */
  #known: ReadonlySet<string> | null = null

  /**
   * The part of what every instance holds that is due to those which are new, in [0, 1): 0 when none is. One that was away for
   * a while, but not out of the mesh, is not new.
   */
  partFor(state: MeshState, own: Workload): number {
    const now = siblingInstances(state, own)
    const known = this.#known
    const left = [...(known ?? [])].filter((uid) => state.workloadByUid(uid) !== undefined)
    this.#known = new Set([...left, ...now])
    if (known === null || now.size === 0) return 0
    const added = [...now].filter((uid) => uid !== own.uid && !known.has(uid))
    return added.length / now.size
  }
}
