// SPDX-License-Identifier: Apache-2.0
// Asks the apiserver for one pod, which a runtime names before our watch has told it.
import { ApiError, type KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { isMap, mapOf, textOf } from '../../../mesh/kubernetes/raw-map.ts'
import type { PodName } from './cni/cni-request.ts'
import { type AgentPod, readAgentPod } from './decide-enrolment.ts'

/** One question lasts no longer: a pod waits for it. */
const ASK_TIMEOUT_MS = 1_500

/** The pod; `gone` when there is none of this name and uid on this node; `unknown` when the apiserver does not say. */
export async function askPod(
  client: Pick<KubernetesClient, 'getJson'>,
  nodeName: string,
  { namespace, name, uid }: PodName,
  signal: AbortSignal,
): Promise<AgentPod | 'gone' | 'unknown'> {
  try {
    const path = `/api/v1/namespaces/${namespace}/pods/${name}`
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(ASK_TIMEOUT_MS)])
    const object = await client.getJson(path, {}, inTime)
    const pod = readAgentPod(object)
    const node = isMap(object) ? textOf(mapOf(object, 'spec'), 'nodeName') : ''
    const isMeant = pod !== null && node === nodeName && (uid === null || pod.info.uid === uid)
    return isMeant ? pod : 'gone'
  } catch (error) {
    return error instanceof ApiError && error.status === 404 ? 'gone' : 'unknown'
  }
}
