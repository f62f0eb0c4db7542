// SPDX-License-Identifier: Apache-2.0
// What the agent of a node makes of a pod as the apiserver has it. Pure; bad input is no pod.

import type { PodInfo } from '../../../mesh/generations/pods.ts'
import { isMap, mapOf, own, type RawMap, textOf } from '../../../mesh/kubernetes/raw-map.ts'
import {
  decideEnrolment,
  type EnrolmentVerdict,
  REDIRECTION_ANNOTATION,
} from '../../../mesh/model/enrolment.ts'

/** Of the name of anything in Kubernetes. */
const MAX_TEXT_LENGTH = 253
const NAME = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/
const UID = /^[0-9a-f-]{36}$/
/** The kubelet's own, of a pod that it reads from a file. */
const STATIC_UID = /^[0-9a-f]{32}$/
/** Of the apiserver's copy of such a pod. */
const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror'
const ENDED = ['Succeeded', 'Failed']

/** What the agent keeps of a pod. */
export interface AgentPod {
  readonly info: PodInfo
  readonly labels: RawMap
  readonly annotations: RawMap
  readonly isHostNetwork: boolean
  /** All its containers have ended for good. */
  readonly hasEnded: boolean
  /** The kubelet says that one of its containers runs. Left out in what earlier versions have saved. */
  readonly isRunning?: boolean
  /** Its addresses, as it says. */
  readonly ips: readonly string[]
}

/** What a pod is told to be. `hopeless`: gone or ended, nobody needs to be asked. */
export type PodGoal = 'in' | 'out' | 'hopeless'

/** Reads a pod; null when it is none that could be enrolled. */
export function readAgentPod(object: unknown): AgentPod | null {
  if (!isMap(object)) return null
  const metadata = mapOf(object, 'metadata')
  const spec = mapOf(object, 'spec')
  const status = mapOf(object, 'status')
  const info: PodInfo = {
    uid: textOf(metadata, 'uid'),
    name: textOf(metadata, 'name'),
    namespace: textOf(metadata, 'namespace'),
    serviceAccount: textOf(spec, 'serviceAccountName') || 'default',
  }
  const names = [info.name, info.namespace, info.serviceAccount]
  const isGood =
    UID.test(info.uid) && names.every((name) => name.length <= MAX_TEXT_LENGTH && NAME.test(name))
  if (!isGood) return null
  const annotations = mapOf(metadata, 'annotations')
  return {
    info,
    labels: mapOf(metadata, 'labels'),
    annotations: Object.fromEntries(
      Object.entries(annotations).filter(
        ([key]) => key.includes('istio.io/') || key.includes('sidestep.dev/') || key === MIRROR_ANNOTATION,
      ),
    ),
    isHostNetwork: own(spec, 'hostNetwork') === true,
    hasEnded: ENDED.includes(textOf(status, 'phase')),
    isRunning: textOf(status, 'phase') === 'Running',
    ips: ipsOf(status),
  }
}

/** What the pod should be, and why. */
export function decidePod(
  pod: AgentPod,
  namespaceLabels: RawMap | undefined,
): { readonly goal: PodGoal; readonly verdict: EnrolmentVerdict } {
  const verdict = decideEnrolment({ ...pod, namespaceLabels })
  if (pod.hasEnded) return { goal: 'hopeless', verdict }
  return { goal: verdict === 'wanted' ? 'in' : 'out', verdict }
}

/**
 * The uid that the control groups of the node have for the pod: another one where the kubelet reads the pod from a file and
 * the apiserver has a copy, which anybody may delete, and which comes back with another uid.
 */
export function uidOnNode({ info, annotations }: AgentPod): string {
  const uid = textOf(annotations, MIRROR_ANNOTATION)
  return STATIC_UID.test(uid) ? uid : info.uid
}

/** What is said of the pod in the cluster; null when nothing is. */
export function toldRedirection({ annotations }: AgentPod): string | null {
  const value = own(annotations, REDIRECTION_ANNOTATION)
  return typeof value === 'string' ? value : null
}

function ipsOf(status: RawMap): readonly string[] {
  const listed = own(status, 'podIPs')
  const ips = Array.isArray(listed) ? listed.map((each) => (isMap(each) ? textOf(each, 'ip') : '')) : []
  return [...new Set([textOf(status, 'podIP'), ...ips].filter((ip) => ip !== ''))]
}
