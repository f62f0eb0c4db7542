// SPDX-License-Identifier: Apache-2.0
// Whether a ztunnel that is told to end is replaced, or taken away for good: by its DaemonSet.
import { ApiError, type KubernetesClient } from '../../../../mesh/kubernetes/client.ts'
import { isMap, mapOf, textOf } from '../../../../mesh/kubernetes/raw-map.ts'

/** daemonset.yaml names it so, and so does the right to read it. */
const DAEMON_SET = 'ztunnel'
/** The end of a pod must not wait for an apiserver. */
const DAEMON_SET_TIMEOUT_MS = 2_000
/** There is none; or the account and its rights, which are removed with it, are gone. */
const GONE = [401, 403, 404]

/** False also when nobody answers: what stays on the node then is harmless. Never throws. */
export async function isUninstalled(
  client: Pick<KubernetesClient, 'getJson'>,
  namespace: string,
): Promise<boolean> {
  try {
    const path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${DAEMON_SET}`
    const object = await client.getJson(path, {}, AbortSignal.timeout(DAEMON_SET_TIMEOUT_MS))
    return isMap(object) && textOf(mapOf(object, 'metadata'), 'deletionTimestamp') !== ''
  } catch (error) {
    return error instanceof ApiError && GONE.includes(error.status)
  }
}
