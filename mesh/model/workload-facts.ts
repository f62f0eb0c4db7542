// SPDX-License-Identifier: Apache-2.0
// What records and metrics say of a workload.
import { identityOf, type Workload } from './workload.ts'

/** A workload in records and metrics. */
export interface WorkloadFacts {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly identity: string
  readonly clusterId: string
  readonly workloadName: string
  readonly workloadType: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly region: string
  readonly zone: string
}

/** The facts of a workload for records and metrics. */
export function workloadFacts(workload: Workload): WorkloadFacts {
  const { uid, name, namespace, serviceAccount, clusterId, workloadName, workloadType } = workload
  const { canonicalName, canonicalRevision, locality } = workload
  return {
    ...{ uid, name, namespace, serviceAccount, clusterId, workloadName, workloadType },
    ...{ canonicalName, canonicalRevision, region: locality.region, zone: locality.zone },
    identity: identityOf(workload),
  }
}
