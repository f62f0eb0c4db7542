// SPDX-License-Identifier: Apache-2.0
// How a workload describes itself to its peers.
import { formatBaggage, WORKLOAD_TYPES, type WorkloadType } from '../../mesh/hbone/baggage.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'

/** SPEC wire-protocols §3.3, §3.4: a request describes its source, the answer its destination. '' while unknown. */
export function formatWorkloadBaggage(workload: WorkloadFacts | null): string {
  if (workload === null) return ''
  const type =
    WORKLOAD_TYPES.find((each: WorkloadType) => each === workload.workloadType.toLowerCase()) ?? 'pod'
  return formatBaggage({
    clusterName: workload.clusterId,
    namespace: workload.namespace,
    workloadType: type,
    workloadName: workload.workloadName || workload.name,
    serviceName: workload.canonicalName,
    serviceVersion: workload.canonicalRevision,
    region: workload.region,
    zone: workload.zone,
  })
}
