// SPDX-License-Identifier: Apache-2.0
// Labels of who calls, where a route asks for them. An identity is proven and an address is claimed: only a workload that has
// both is the caller, anybody else has no labels. Pure.
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { identityOf } from '../../mesh/model/workload.ts'

export type CallerLabels = Readonly<Record<string, string>>

/** Labels of the workload of `network` that is at `ip` and is `identity`. */
export function callerLabels(state: MeshState, network: string, identity: string, ip: string): CallerLabels {
  const workload = identity === '' ? undefined : state.workloadByIp(network, ip)
  if (workload === undefined || identityOf(workload) !== identity) return {}
  return workload.labels ?? {}
}
