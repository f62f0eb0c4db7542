// SPDX-License-Identifier: Apache-2.0
// The better of two chosen by chance, among entries of one rank: nearly as even as the best of all, at the price of two draws,
// and without everybody running to the same one (Mitzenmacher, “The Power of Two Choices”, 2001).
import type { Pickable, Picker } from './picker.ts'
import { WeightedChoice } from './weighted-choice.ts'

/** Draws for a second that is not the first. */
const DRAWS = 4

/** True when the second is clearly better than the first, now. */
export type IsBetter<T> = (second: T, first: T) => boolean

export class LeastLoaded<T extends Pickable> implements Picker<T> {
  readonly #choice: WeightedChoice<T>
  readonly #isBetter: IsBetter<T>

  constructor(list: readonly T[], random: () => number, isBetter: IsBetter<T>) {
    this.#choice = new WeightedChoice(list, random)
    this.#isBetter = isBetter
  }

  pick(tried: ReadonlySet<string> | null): T | null {
    const first = this.#choice.pick(tried)
    if (first === null || this.#choice.size < 2) return first
    let second = this.#choice.draw()
    for (let draws = 1; second === first && draws < DRAWS; draws++) second = this.#choice.draw()
    if (second === null || second === first || tried?.has(second.uid)) return first
    return this.#isBetter(second, first) ? second : first
  }
}
