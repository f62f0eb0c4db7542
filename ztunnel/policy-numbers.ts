// SPDX-License-Identifier: Apache-2.0
// Policies as the workers know them: each is sent once and has a number from then on, by which pods name it. A policy of
// the whole mesh is one message, however many pods it is about.
import type { Policy } from '../mesh/model/policy.ts'

/** Gives numbers to policies; equal objects have equal numbers. */
export class PolicyNumbers {
  readonly #numbers = new Map<Policy, number>()
  readonly #onAdded: (number: number, policy: Policy) => void
  #next = 1

  /** `onAdded` is called before a new number is given out. */
  constructor(onAdded: (number: number, policy: Policy) => void) {
    this.#onAdded = onAdded
  }

  /** The numbers of policies, in their order. */
  of(policies: readonly Policy[]): readonly number[] {
    return policies.map((policy) => {
      const known = this.#numbers.get(policy)
      if (known !== undefined) return known
      const number = this.#next++
      this.#numbers.set(policy, number)
      this.#onAdded(number, policy)
      return number
    })
  }

  /** Forgets all but these; the numbers that are void, which are never given again. */
  retain(used: ReadonlySet<Policy>): readonly number[] {
    const removed: number[] = []
    for (const [policy, number] of this.#numbers) {
      if (used.has(policy)) continue
      this.#numbers.delete(policy)
      removed.push(number)
    }
    return removed
  }

  /** Everything that has a number. */
  all(): ReadonlyMap<number, Policy> {
    return new Map([...this.#numbers].map(([policy, number]) => [number, policy]))
  }
}
