// SPDX-License-Identifier: Apache-2.0
// An L4 authorization policy (SPEC XDS §1.7, file names of §6.2; meaning in §4.4). Plain data.
// Its key is `namespace/name`. A list that is empty does not constrain.

/** How a string is compared. Presence: any non-empty string. */
export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string }
  | { readonly kind: 'presence' }

export interface ServiceAccountMatch {
  readonly namespace: string
  readonly serviceAccount: string
}

/** AND over the attribute kinds; within one kind OR; `not…` must have no hit. */
export interface Match {
  readonly namespaces: readonly StringMatch[]
  readonly notNamespaces: readonly StringMatch[]
  readonly serviceAccounts: readonly ServiceAccountMatch[]
  readonly notServiceAccounts: readonly ServiceAccountMatch[]
  /** Compared with the identity without `spiffe://`. */
  readonly principals: readonly StringMatch[]
  readonly notPrincipals: readonly StringMatch[]
  /** CIDRs in canonical text. */
  readonly sourceIps: readonly string[]
  readonly notSourceIps: readonly string[]
  readonly destinationIps: readonly string[]
  readonly notDestinationIps: readonly string[]
  readonly destinationPorts: readonly number[]
  readonly notDestinationPorts: readonly number[]
}

/** OR of its matches. */
export type Clause = readonly Match[]
/** AND of its clauses. */
export type Rule = readonly Clause[]

export type PolicyScope = 'Global' | 'Namespace' | 'WorkloadSelector'

/** One policy: OR of its rules. */
export interface Policy {
  readonly name: string
  readonly namespace: string
  readonly scope: PolicyScope
  readonly action: 'Allow' | 'Deny'
  readonly rules: readonly Rule[]
  /** Reported, not enforced. */
  readonly dryRun: boolean
}

/** A match that constrains nothing. */
export const EMPTY_MATCH: Match = {
  namespaces: [],
  notNamespaces: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  principals: [],
  notPrincipals: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
}

/** `namespace/name`. */
export function policyKey(policy: { readonly namespace: string; readonly name: string }): string {
  return `${policy.namespace}/${policy.name}`
}
