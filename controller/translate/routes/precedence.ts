// SPDX-License-Identifier: Apache-2.0
// Which match comes before which, settled once for every waypoint. SPEC GATEWAY-API HTTPRouteRule.matches: exact path, longest
// prefix, method, most headers, most query parameters; then the oldest route, the first by its name, the first in the list.
import type { EntryPart } from './route-part.ts'

/** A match among those of other routes. */
export interface RankedEntry {
  readonly entry: EntryPart
  /** Place of its route among all, by age and name. */
  readonly route: number
  /** Place in its route. */
  readonly order: number
}

/** A total order: two different matches are never equal. */
export function compareEntries(left: RankedEntry, right: RankedEntry): number {
  const { rank } = left.entry
  for (let index = 0; index < rank.length; index++) {
    const difference = (right.entry.rank[index] ?? 0) - (rank[index] ?? 0)
    if (difference !== 0) return difference
  }
  return left.route - right.route || left.order - right.order
}
