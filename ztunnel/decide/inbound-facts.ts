// SPDX-License-Identifier: Apache-2.0
// What the node of a destination knows of a pair: whether it serves the pod, what its policies say (only it has all of
// them), with which certificate it would answer, what came of the last attempts. Pure, of a running node or of a dump.
import { AuthzConnection } from '../../mesh/authz/connection.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import { describeGuard } from '../../mesh/model/waypoint-guard.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import { explainEntrance } from './explain-entrance.ts'
import { type ExplainedSide, refused } from './explained-side.ts'
import { explainPolicies } from './explanation.ts'
import { checkOnlyPort } from './inbound-decision.ts'
import {
  healthOf,
  type IdentityFacts,
  identityFacts,
  type NodeHealth,
  type NodeView,
  type PartyFacts,
  partyOf,
  servedPod,
} from './node-view.ts'
import { type PairAttempts, pairAttempts } from './pair-attempts.ts'
import { type ListenerState, listenerState } from './pod-listeners.ts'

/** One connection that would arrive. */
export interface InboundAsked {
  /** Of the destination, in the model. */
  readonly uid: string
  /** The application's address. */
  readonly ip: string
  readonly port: number
  readonly sourceIps: readonly string[]
  /** What the caller proves; '' in plain text. */
  readonly identity: string
}

/** What the node of the destination says. */
export interface InboundFacts {
  readonly health: NodeHealth
  /** Null: this node does not know the destination. */
  readonly destination: PartyFacts | null
  /** The pod is enrolled at this node. */
  readonly isServed: boolean
  /** Its policies; null when it knows nothing to apply them to. */
  readonly policies: ExplainedSide | null
  /** What becomes of who would go round a waypoint; null: nobody does, or a policy refuses it before. */
  readonly detour: ExplainedSide | null
  readonly certificate: IdentityFacts | null
  /** How the application's port answers now; null: that is not known. */
  readonly listener: ListenerState | null
  readonly attempts: PairAttempts
  /** When the redirection of the pod was last mended, epoch ms; null: never. */
  readonly mendedMs: number | null
}

/** What the node says of a connection. */
export function inboundFacts(view: NodeView, asked: InboundAsked): InboundFacts {
  const { uid, ip, port, sourceIps, identity } = asked
  const workload = view.state?.workloadByUid(uid)
  const attempts = pairAttempts(view.records, {
    direction: 'inbound',
    ...{ sourceIdentity: identity, sourceIps },
    // A handshake that failed never came to say which port it was for.
    targets: [formatSocketAddress(ip, port), formatSocketAddress(ip, HBONE_PORT)],
  })
  const health = healthOf(view)
  if (view.state === null || workload === undefined) {
    const nothing = { destination: null, policies: null, detour: null, certificate: null, listener: null }
    return { health, ...nothing, isServed: false, attempts, mendedMs: null }
  }
  const pod = servedPod(view, workload)
  const proven = parseSpiffeId(identity)
  const caller = isRefusal(proven) ? null : proven
  const sourceIp = sourceIps[0] ?? ''
  const connection = new AuthzConnection(sourceIp, caller, ip, port)
  const closed = checkOnlyPort(pod?.onlyPort, port)
  const policies =
    closed === null ? explainPolicies(view.state.policiesFor(workload), connection) : refused(closed)
  const arrival = { identity: caller, sourceIp, ip, port, isDiverted: false }
  const destination = partyOf(workload)
  return {
    ...{ health, destination, attempts },
    isServed: pod !== undefined,
    policies,
    detour: policies.code === 'OK' ? explainEntrance(describeGuard(view.state, workload), arrival) : null,
    certificate: identityFacts(view, destination.identity),
    // What an application tunnel leads to is behind another port.
    listener:
      pod === undefined || workload.applicationTunnel !== null
        ? null
        : listenerState(view.activityOf(pod), port),
    mendedMs: pod === undefined ? null : (view.mendedMs[pod.uid] ?? null),
  }
}
