// SPDX-License-Identifier: Apache-2.0
// Chooses by a key, so that a key keeps its entry while that is there. Ranks are not looked at: all entries are of one.
import type { Pickable } from './picker.ts'

/** Chooses from one list, made for one immutable list as a Picker is. */
export interface KeyPicker<T extends Pickable> {
  /** The entry of a key, or who stands in for it while `isOut` is true of it; null: all are out. `hash`: hash32. */
  pick(hash: number, isOut: (entry: T) => boolean): T | null
}

/** Who takes part, in the same order everywhere. */
export function keyedEntries<T extends Pickable>(list: readonly T[]): readonly T[] {
  return list
    .filter(({ capacity }) => capacity > 0)
    .sort((a, b) => (a.uid < b.uid ? -1 : Number(a.uid > b.uid)))
}
