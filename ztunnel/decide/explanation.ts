// SPDX-License-Identifier: Apache-2.0
// What would happen to a connection and why, from the model alone: the decision of its source, then the policies of its
// destination. The same functions decide real connections; nothing here is on their path.

import { AuthzConnection } from '../../mesh/authz/connection.ts'
import { compilePolicies, evaluate, type Verdict } from '../../mesh/authz/evaluate.ts'
import { explain } from '../../mesh/authz/explain.ts'
import { DestinationPicker } from '../../mesh/balance/destination-picker.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import { describeDestination } from '../../mesh/model/destination.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { type Policy, policyKey } from '../../mesh/model/policy.ts'
import { writtenKey } from '../../mesh/model/reserved-policy.ts'
import { describeGuard } from '../../mesh/model/waypoint-guard.ts'
import { identityOf, type Workload } from '../../mesh/model/workload.ts'
import { workloadFacts } from '../../mesh/model/workload-facts.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { explainEntrance } from './explain-entrance.ts'
import { type ExplainedSide, refused } from './explained-side.ts'
import { decideOutbound, type OutboundDecision, type TunnelDecision } from './outbound-decision.ts'
import { explainSameNode } from './same-node-explained.ts'

/** One connection somebody asks about. `ip` is canonical. */
export interface ExplainedConnection {
  readonly source: Workload
  readonly ip: string
  readonly port: number
  readonly network: string
  readonly isSocks5Enabled: boolean
}

/** Both sides' answers. `inbound` is null when the destination is not a workload of this model, or never reached. */
export interface ConnectionExplanation {
  readonly source: string
  readonly destination: string
  readonly outbound: ExplainedSide
  readonly inbound: ExplainedSide | null
}

/** Explains a connection. */
export function explainConnection(state: MeshState, asked: ExplainedConnection): ConnectionExplanation {
  const { source, ip, port } = asked
  const view = describeDestination(state, source, asked.network, ip, port)
  const from = { workload: workloadFacts(source), isSocks5Enabled: asked.isSocks5Enabled }
  const decision = decideOutbound(from, view, new DestinationPicker(view, () => 0))
  const explanation = { source: identityOf(source), destination: formatSocketAddress(ip, port) }
  if (isRefusal(decision)) return { ...explanation, outbound: refused(decision), inbound: null }
  // Certificates are not of the model: they are taken for valid, as everywhere here.
  const inside = explainSameNode(state, source, decision, () => true)
  const side = carried(decision)
  const outbound = inside === null ? side : { ...side, reason: `${side.reason}; ${inside.text}` }
  return { ...explanation, outbound, inbound: explainInbound(state, source, decision) }
}

/** Where a connection that is carried goes. */
export function carried(decision: OutboundDecision): ExplainedSide {
  const to = formatSocketAddress(decision.dial.ip, decision.dial.port)
  const reason =
    decision.kind === 'plain'
      ? `goes to ${to} in plain text: it is not of the mesh`
      : `goes ${hopOf(decision)} ${to} in a tunnel of ` +
        `${decision.expectedIdentities.join(' or ')}, as ${decision.authority}`
  return { code: 'OK', reason, fix: '', policy: '' }
}

function hopOf({ isWaypoint, inner, workload }: TunnelDecision): string {
  if (inner !== null)
    return `through the gateway of another network, ${workload.namespace}/${workload.name}, at`
  return isWaypoint ? 'through the waypoint' : 'to'
}

/** True when the next hop is not where the connection ends. */
export function endsElsewhere(decision: OutboundDecision): boolean {
  return decision.kind === 'hbone' && (decision.isWaypoint || decision.inner !== null)
}

/** Behind a waypoint or a gateway of another network the policies are somebody else's business. */
function explainInbound(
  state: MeshState,
  source: Workload,
  decision: OutboundDecision,
): ExplainedSide | null {
  if (decision.workload === null || endsElsewhere(decision)) return null
  const target = state.workloadByUid(decision.workload.uid)
  if (target === undefined) return null
  const identity = decision.kind === 'hbone' ? parseSpiffeId(identityOf(source)) : null
  const { ip } = decision.dial
  const port = decision.kind === 'hbone' ? portOf(decision.authority) : decision.dial.port
  const proven = identity === null || isRefusal(identity) ? null : identity
  const sourceIp = source.workloadIps[0] ?? ''
  const policies = explainPolicies(state.policiesFor(target), new AuthzConnection(sourceIp, proven, ip, port))
  if (policies.code !== 'OK') return policies
  const arrival = { identity: proven, sourceIp, ip, port, isDiverted: false }
  return explainEntrance(describeGuard(state, target), arrival) ?? policies
}

/** What the policies of a destination say to a connection, and which of them. */
export function explainPolicies(policies: readonly Policy[], connection: AuthzConnection): ExplainedSide {
  const verdict = evaluate(compilePolicies(policies), connection)
  const { reason, fix } = explain(policies, connection, verdict)
  return { code: verdict.allowed ? 'OK' : verdict.code, reason, fix, policy: policyOf(policies, verdict) }
}

/** A policy that needs layer 7 was made of a user's; one that guards a waypoint is nobody's. */
function policyOf(policies: readonly Policy[], { code, policy }: Verdict): string {
  const deciding = policies.find((each) => policyKey(each) === policy)
  return code === 'POLICY_NEEDS_L7' && deciding !== undefined ? writtenKey(deciding) : (policy ?? '')
}

function portOf(authority: string): number {
  return Number(authority.slice(authority.lastIndexOf(':') + 1))
}
