// SPDX-License-Identifier: Apache-2.0
// The policies a worker knows, by number: pods that have one in common have it as one object.
import type { InboundView } from '../../mesh/model/inbound.ts'
import type { Policy } from '../../mesh/model/policy.ts'

/** A pod as main describes it: policies by number. */
export type NumberedInbound = Omit<InboundView, 'policies'> & { readonly policies: readonly number[] }

/** Stands for a policy whose message was lost: what it may cover is closed rather than open. */
const LOST: Policy = {
  ...{ name: 'lost', namespace: '', scope: 'WorkloadSelector', action: 'Deny', dryRun: false },
  rules: [[]],
}

/** Policies by number. */
export class WorkerPolicies {
  readonly #policies = new Map<number, Policy>()

  add(policies: ReadonlyMap<number, Policy>): void {
    for (const [number, policy] of policies) this.#policies.set(number, policy)
  }

  remove(numbers: readonly number[]): void {
    for (const number of numbers) this.#policies.delete(number)
  }

  /** The whole description. A number that is not known denies everything. */
  resolve(inbound: NumberedInbound): InboundView {
    return { ...inbound, policies: inbound.policies.map((number) => this.#policies.get(number) ?? LOST) }
  }
}
