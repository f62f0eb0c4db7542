// SPDX-License-Identifier: Apache-2.0
// Of two objects that claim the same the older one counts, so that a new one never takes anything away.

export interface Aged {
  /** Epoch milliseconds; NaN when unknown. */
  readonly createdMs: number
  /** Decides among equals. */
  readonly key: string
}

/** Sorts the oldest first. Without a time of creation something counts as the oldest: then the names alone decide. */
export function compareAge(left: Aged, right: Aged): number {
  const age = timeOf(left) - timeOf(right)
  if (age !== 0) return age
  return left.key === right.key ? 0 : left.key < right.key ? -1 : 1
}

function timeOf({ createdMs }: Aged): number {
  return Number.isNaN(createdMs) ? 0 : createdMs
}
