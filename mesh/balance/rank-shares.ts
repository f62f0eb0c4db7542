// SPDX-License-Identifier: Apache-2.0
// How much of the traffic each rank of nearness gets: the nearest has all of it while enough of its entries are healthy, then
// the next one takes what is missing. SPEC ENVOY priority levels, with its overprovisioning factor.

/** A rank serves all of its traffic while this part of it, inverted, is healthy: 1 / 1.4 = 71 %. */
const OVERPROVISIONING = 1.4

/** Entries of one rank. */
export interface RankHealth {
  readonly healthy: number
  readonly total: number
}

/** The nearest first. Shares add up to 1; all are 0 when nobody is healthy. */
export function rankShares(ranks: readonly RankHealth[]): number[] {
  const health = ranks.map(({ healthy, total }) =>
    total === 0 ? 0 : Math.min(1, (healthy / total) * OVERPROVISIONING),
  )
  const whole = Math.min(
    1,
    health.reduce((sum, each) => sum + each, 0),
  )
  if (whole === 0) return health
  let left = 1
  return health.map((each) => {
    const share = Math.min(left, each / whole)
    left -= share
    return share
  })
}
