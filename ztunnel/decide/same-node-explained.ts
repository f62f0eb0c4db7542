// SPDX-License-Identifier: Apache-2.0
// Whether a connection inside a node skips the tunnel, in words, from the model alone. carry/same-node decides on real ones;
// what it also looks at, the pods' addresses and their state of now, is not known here.
import { refusesPlaintext } from '../../mesh/authz/closed-ports.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import type { Workload } from '../../mesh/model/workload.ts'
import type { OutboundDecision } from './outbound-decision.ts'

/** What is to be known of a pair of one node. */
export interface SameNodeFacts {
  readonly isLocal: boolean
  /** Part of a sentence. */
  readonly text: string
}

/** Null: the way leaves the node, or never was a tunnel. `hasCertificate` is told an identity's workload. */
export function explainSameNode(
  state: MeshState,
  source: Workload,
  decision: OutboundDecision,
  hasCertificate: (workload: Workload) => boolean,
): SameNodeFacts | null {
  if (decision.kind !== 'hbone' || decision.isWaypoint || decision.inner !== null) return null
  const target = state.workloadByUid(decision.workload.uid)
  if (target === undefined || target === source) return null
  if (target.node !== source.node || source.node === '') return null
  const ends = [source, target]
  const obstacle = ends.map((each) => obstacleOf(state, each, hasCertificate)).find((each) => each !== '')
  if (obstacle !== undefined) return { isLocal: false, text: `inside the node, in a tunnel: ${obstacle}` }
  if (source.trustDomain !== target.trustDomain)
    return { isLocal: false, text: 'inside the node, in a tunnel: the two are of different trust domains' }
  return { isLocal: true, text: 'inside the node, joined there without the tunnel (LOCAL): both opted in' }
}

/** '' when this end is no reason for a tunnel. */
function obstacleOf(
  state: MeshState,
  workload: Workload,
  hasCertificate: (workload: Workload) => boolean,
): string {
  const name = `${workload.namespace}/${workload.name}`
  if (workload.sameNode !== 'direct')
    return `${name} is not marked sidestep.dev/same-node: direct, or strict mode or a NetworkPolicy overrules it`
  if (refusesPlaintext(state.policiesFor(workload))) return `${name} is strict`
  return hasCertificate(workload) ? '' : `${name} has no valid certificate`
}
