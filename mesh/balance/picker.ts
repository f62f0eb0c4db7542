// SPDX-License-Identifier: Apache-2.0
// Chooses one of several for a connection. A picker stands for one immutable list: a change makes a new picker.
// pick() is on the path of every connection: no allocation, time independent of the list's length in the mean.

/** What can be picked. */
export interface Pickable {
  /** Unique in its list. */
  readonly uid: string
  /** Higher ranks are used first; a lower one only when every higher one is out. */
  readonly rank: number
  /** Weight within its rank, ≥ 0; 0 = never. */
  readonly capacity: number
}

/** Chooses from one list. */
export interface Picker<T extends Pickable> {
  /** One entry that is not in `tried` (uids already attempted), or null when none is left. */
  pick(tried: ReadonlySet<string> | null): T | null
}

/** Makes the picker of a list. `random` is uniform in [0, 1) and sets where it starts. */
export type MakePicker = <T extends Pickable>(list: readonly T[], random: () => number) => Picker<T>
