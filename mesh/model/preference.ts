// SPDX-License-Identifier: Apache-2.0
// How much an endpoint is preferred by where it runs (SPEC HBONE §4.1, endpoint selection 3).
import type { LoadBalancer, RoutingScope } from './service.ts'
import type { Workload } from './workload.ts'

/** The endpoint must not be used: STRICT, and it does not match all preferences. */
export const REFUSED_RANK = -1

/** The rank of an endpoint for a source: higher is preferred, REFUSED_RANK is out. Without preferences all are 0. */
export function localityRank(balancer: LoadBalancer | null, source: Workload, endpoint: Workload): number {
  if (balancer === null || (balancer.mode !== 'Strict' && balancer.mode !== 'Failover')) return 0
  const preferences = balancer.routingPreferences
  let rank = 0
  for (const [index, scope] of preferences.entries()) {
    const isMatch = matches(scope, source, endpoint)
    if (index === 0 && scope === 'Network') {
      // A matching network outweighs everything after it; another network still has nearer and farther places.
      if (isMatch) rank += preferences.length
      continue
    }
    if (!isMatch) break
    rank++
  }
  return balancer.mode === 'Strict' && rank < fullRank(preferences) ? REFUSED_RANK : rank
}

// 1 + (length - 1) for the network in front, 1 for each other preference.
function fullRank(preferences: readonly RoutingScope[]): number {
  const { length } = preferences
  return preferences[0] === 'Network' ? length + length - 1 : length
}

function matches(scope: RoutingScope, source: Workload, endpoint: Workload): boolean {
  switch (scope) {
    case 'Region':
      return source.locality.region === endpoint.locality.region
    case 'Zone':
      return source.locality.zone === endpoint.locality.zone
    case 'Subzone':
      return source.locality.subzone === endpoint.locality.subzone
    case 'Node':
      return source.node === endpoint.node
    case 'Cluster':
      return source.clusterId === endpoint.clusterId
    case 'Network':
      return source.network === endpoint.network
  }
}
