// SPDX-License-Identifier: Apache-2.0
// The name that people know a pod by: the Deployment, CronJob or Job that made it, as istiod finds it.
import { WorkloadType } from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import { labelOf } from './locality.ts'

const TEMPLATE_HASH = ['pod-template-hash']
const ROLLOUT_HASH = ['rollouts-pod-template-hash']
const CRON_JOB = /^(.{1,253})-\d{8,10}$/ // a CronJob names its Jobs after the scheduled minute

export interface OwnerName {
  readonly name: string
  readonly type: WorkloadType
}

/** Name and type for telemetry; a pod nobody owns is its own. */
export function ownerOf(pod: ConfigObject): OwnerName {
  const { name, labels, ownerReferences } = pod.metadata
  const owner = ownerReferences[0]
  if (owner === undefined) return { name, type: WorkloadType.POD }
  if (owner.kind === 'ReplicaSet') {
    for (const keys of [ROLLOUT_HASH, TEMPLATE_HASH]) {
      const hash = labelOf(labels, keys)
      const base = owner.name.endsWith(`-${hash}`) ? owner.name.slice(0, -hash.length - 1) : ''
      if (hash !== '' && base !== '') {
        return { name: base, type: keys === TEMPLATE_HASH ? WorkloadType.DEPLOYMENT : WorkloadType.POD }
      }
    }
  }
  if (owner.kind === 'Job') {
    const cron = CRON_JOB.exec(owner.name)?.[1]
    return cron === undefined
      ? { name: owner.name, type: WorkloadType.JOB }
      : { name: cron, type: WorkloadType.CRONJOB }
  }
  return { name: owner.name, type: WorkloadType.POD }
}

/** Istio's canonical name; without a label it is the owner's. */
export function canonicalName(labels: Readonly<Record<string, string>>, fallback: string): string {
  return labelOf(labels, ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app']) || fallback
}

export function canonicalRevision(labels: Readonly<Record<string, string>>): string {
  const keys = ['service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version']
  return labelOf(labels, keys) || 'latest'
}
