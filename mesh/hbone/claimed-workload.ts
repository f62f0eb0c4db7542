// SPDX-License-Identifier: Apache-2.0
// A peer as it describes itself: for telemetry, never for a decision. Its identity is proven, everything else a claim.

import { formatSpiffeId, type SpiffeId } from '../identity/spiffe.ts'
import type { WorkloadFacts } from '../model/workload-facts.ts'
import { parseBaggage } from './baggage.ts'

/** The workload that proved `id` and says `baggage` of itself. */
export function claimedWorkload(id: SpiffeId, baggage: string): WorkloadFacts {
  const claim = parseBaggage(baggage)
  const identity = formatSpiffeId(id)
  return {
    uid: `${identity} ${baggage}`,
    name: claim.workloadName ?? '',
    namespace: id.namespace,
    serviceAccount: id.serviceAccount,
    identity,
    clusterId: claim.clusterName ?? '',
    workloadName: claim.workloadName ?? '',
    workloadType: claim.workloadType ?? '',
    canonicalName: claim.serviceName ?? '',
    canonicalRevision: claim.serviceVersion ?? '',
    region: claim.region ?? '',
    zone: claim.zone ?? '',
  }
}
