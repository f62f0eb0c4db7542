// SPDX-License-Identifier: Apache-2.0
// Whether a controller that is told to end is replaced, or taken away for good: by its Deployment.
import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { isMap } from '../watch/value-mistakes.ts'
import { statusOf } from './api-failure.ts'

/** The end of a pod must not wait for an apiserver. */
const DEPLOYMENT_TIMEOUT_MS = 2_000
const NOT_FOUND = 404

/** Names a Deployment. */
export interface DeploymentName {
  readonly namespace: string
  readonly name: string
}

/** False also when nobody answers, or we may not ask any more: then nothing can be written either. Never throws. */
export async function isRemoved(
  client: Pick<KubernetesClient, 'getJson'>,
  { namespace, name }: DeploymentName,
): Promise<boolean> {
  try {
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`
    const found = await client.getJson(path, {}, AbortSignal.timeout(DEPLOYMENT_TIMEOUT_MS))
    return isMap(found) && isMap(found.metadata) && typeof found.metadata.deletionTimestamp === 'string'
  } catch (error) {
    return statusOf(error) === NOT_FOUND
  }
}
