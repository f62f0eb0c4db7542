// SPDX-License-Identifier: Apache-2.0
// Why a policy refused a call, from the record of the node that refused it and the configuration this node has. Pure.
import { AuthzConnection } from '../mesh/authz/connection.ts'
import { compilePolicies, evaluate } from '../mesh/authz/evaluate.ts'
import { explain } from '../mesh/authz/explain.ts'
import type { ReasonCode } from '../mesh/errors/reasons.ts'
import { isRefusal } from '../mesh/errors/refusal.ts'
import { parseSpiffeId } from '../mesh/identity/spiffe.ts'
import { type MeshConfig, MeshState } from '../mesh/model/mesh-state.ts'
import type { DemoRecord } from './records.ts'

/** What a person needs to know about a refused call. */
export interface RefusalExplanation {
  readonly code: ReasonCode
  readonly caller: string
  /** `ip:port` of the application. */
  readonly destination: string
  /** The deciding policy, `namespace/name`. */
  readonly policy: string
  readonly reason: string
  readonly fix: string
}

/** Splits `ip:port`. */
export function splitAddress(address: string): { readonly ip: string; readonly port: number } {
  const colon = address.lastIndexOf(':')
  return { ip: address.slice(0, colon), port: Number(address.slice(colon + 1)) }
}

/** True for a call that a policy refused, told by the node that did. */
export function isPolicyRefusal({ direction, reason }: DemoRecord): boolean {
  return direction === 'inbound' && reason.startsWith('POLICY_')
}

/**
 * Explains the record of such a call. What `config` (of the node that refused) does not explain, because it has changed
 * since, is told as the record has it.
 */
export function explainRefusal(config: MeshConfig | null, record: DemoRecord): RefusalExplanation {
  const destination = record.destinationAddress === '' ? record.hboneAddress : record.destinationAddress
  const source = splitAddress(record.sourceAddress).ip
  const caller = record.sourceIdentity === '' ? `${source} (no identity)` : record.sourceIdentity
  const told = config === null ? null : reasonOf(config, record, destination)
  const { reason, fix } = told ?? { reason: record.detail, fix: record.fix }
  return { code: record.reason, caller, destination, policy: record.policy, reason, fix }
}

/** Null when the policies of `config` would not have decided as the record says. */
function reasonOf(
  config: MeshConfig,
  record: DemoRecord,
  destination: string,
): { readonly reason: string; readonly fix: string } | null {
  const { ip, port } = splitAddress(destination)
  const state = new MeshState(config, 0)
  const workload = state.workloadByIp('', ip)
  if (workload === undefined) return null
  const id = parseSpiffeId(record.sourceIdentity)
  const source = splitAddress(record.sourceAddress).ip
  const connection = new AuthzConnection(source, isRefusal(id) ? null : id, ip, port)
  const policies = state.policiesFor(workload)
  const verdict = evaluate(compilePolicies(policies), connection)
  if (verdict.allowed || verdict.code !== record.reason || (verdict.policy ?? '') !== record.policy)
    return null
  return explain(policies, connection, verdict)
}
