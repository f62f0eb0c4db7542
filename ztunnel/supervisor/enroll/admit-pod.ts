// SPDX-License-Identifier: Apache-2.0
// A pod that is being made: what is not known of it yet is asked for and waited for, then its namespace is handed over.
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { isReasonCode, type ReasonCode } from '../../../mesh/errors/reasons.ts'
import type { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { askPod } from './ask-pod.ts'
import type { CniRequest, PodName } from './cni/cni-request.ts'
import type { Admission } from './cni/cni-spool.ts'
import { openPodNetns } from './cni/pod-netns.ts'
import type { AgentPod } from './decide-enrolment.ts'
import type { News } from './news.ts'
import { isSought, type PodStanding } from './pod-state.ts'

/** A pod that the node knows. */
export interface KnownPod {
  readonly pod: AgentPod
  readonly standing: PodStanding
  /** Why the roster has not enrolled it, as the code of a reason and a detail; null when it has. */
  readonly failure: string | null
}

/** The pods of the node, as far as a new one needs them. */
export interface AdmittingPods {
  readonly client: Pick<KubernetesClient, 'getJson'>
  readonly nodeName: string
  /** Where the processes of the node are seen. */
  readonly procPath: string
  /** Of pods and namespaces. */
  readonly news: News
  /** Pods and namespaces have been listed. */
  isReady(): boolean
  hasNamespace(name: string): boolean
  find(pod: PodName): KnownPod | undefined
  /** One that no watch has told. */
  learn(pod: AgentPod): void
  /** Its namespace; the descriptor is given away. */
  found(uid: string, netns: number): Promise<void>
}

/** Done when rules and listeners of the pod stand, or it is not of the mesh. Waits until the signal at most; never throws. */
export async function admitPod(
  pods: AdmittingPods,
  { pod, netns }: CniRequest,
  signal: AbortSignal,
): Promise<Admission> {
  if (!(await pods.news.until(() => pods.isReady(), signal))) return { kind: 'failed', code: 'POD_UNKNOWN' }
  if (pods.find(pod) === undefined) {
    const asked = await askPod(pods.client, pods.nodeName, pod, signal)
    if (asked === 'gone') return { kind: 'done', isEnrolled: false }
    // Meanwhile the watch may have told it, and more than that.
    if (asked !== 'unknown' && pods.find(pod) === undefined) pods.learn(asked)
  }
  const isKnown = await pods.news.until(() => pods.hasNamespace(pod.namespace), signal)
  const known = pods.find(pod)
  if (!isKnown || known === undefined) return { kind: 'failed', code: 'POD_UNKNOWN' }
  if (!isSought(known.standing)) return { kind: 'done', isEnrolled: false }
  try {
    await pods.found(known.pod.info.uid, openPodNetns(netns, pods.procPath))
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    return { kind: 'failed', code: error.code }
  }
  if (known.standing.state === 'enrolled') return { kind: 'done', isEnrolled: true }
  return { kind: 'failed', code: codeOfFailure(known.failure) }
}

/** Of a failure as the roster tells it: `CODE: detail`. */
export function codeOfFailure(failure: string | null): ReasonCode {
  const [code = ''] = (failure ?? '').split(':')
  return isReasonCode(code) ? code : 'INTERNAL'
}
