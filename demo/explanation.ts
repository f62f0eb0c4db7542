// SPDX-License-Identifier: Apache-2.0
// Why a policy refused a call, from the configuration the ztunnel read and the record it wrote. Pure.
import { AuthzConnection } from '../mesh/authz/connection.ts'
import { compilePolicies, evaluate } from '../mesh/authz/evaluate.ts'
import { explain } from '../mesh/authz/explain.ts'
import type { ReasonCode } from '../mesh/errors/reasons.ts'
import { isRefusal } from '../mesh/errors/refusal.ts'
import { parseSpiffeId } from '../mesh/identity/spiffe.ts'
import { parseLocalConfig } from '../mesh/model/local-config.ts'
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

/** Explains the record of the node that refused; null when no policy of `meshYaml` refused it. */
export function explainRefusal(meshYaml: string, record: DemoRecord): RefusalExplanation | null {
  if (record.direction !== 'inbound' || !record.reason.startsWith('POLICY_')) return null
  const config = parseLocalConfig(meshYaml, { file: 'mesh.yaml' })
  if (config.kind !== 'config') return null
  const destination = record.destinationAddress === '' ? record.hboneAddress : record.destinationAddress
  const { ip, port } = splitAddress(destination)
  const id = parseSpiffeId(record.sourceIdentity)
  const source = splitAddress(record.sourceAddress).ip
  const connection = new AuthzConnection(source, isRefusal(id) ? null : id, ip, port)
  const verdict = evaluate(compilePolicies(config.policies), connection)
  if (verdict.allowed) return null
  const { reason, fix } = explain(config.policies, connection, verdict)
  const caller = record.sourceIdentity === '' ? `${source} (no identity)` : record.sourceIdentity
  return { code: record.reason, caller, destination, policy: verdict.policy ?? '', reason, fix }
}
