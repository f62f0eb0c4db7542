// SPDX-License-Identifier: Apache-2.0
// Which of a rule's backends gets a request, by weight. Pure.

/** What has a share. */
export interface Weighted {
  readonly weight: number
}

/** Shares of a rule, summed once. */
export class Split<T extends Weighted> {
  readonly #backends: readonly T[]
  /** Sum of the weights up to and with each. */
  readonly #sums: readonly number[]

  /** Who weighs nothing gets nothing. */
  constructor(backends: readonly T[]) {
    this.#backends = backends.filter(({ weight }) => weight > 0)
    let sum = 0
    this.#sums = this.#backends.map(({ weight }) => {
      sum += weight
      return sum
    })
  }

  /** `random` is uniform in [0, 1). null: nobody has a share. */
  pick(random: number): T | null {
    const total = this.#sums.at(-1) ?? 0
    const at = random * total
    const index = this.#sums.findIndex((sum) => at < sum)
    return this.#backends[index] ?? null
  }
}
