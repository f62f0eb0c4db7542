// SPDX-License-Identifier: Apache-2.0
// Whether a part of ours that is told to end is replaced, or taken away for good: by the object that makes its pods.
import { ApiError, type KubernetesClient } from './client.ts'
import { isMap, mapOf, textOf } from './raw-map.ts'

/** The end of a pod must not wait for an apiserver. */
const OWNER_TIMEOUT_MS = 2_000
const NOT_FOUND = 404

/** What makes the pods. */
export interface OwnerName {
  readonly kind: 'deployments' | 'daemonsets'
  readonly namespace: string
  readonly name: string
}

/**
 * `meansGone`: statuses of an apiserver that say so too, beside 404: the rights to ask are removed with the owner. False also when
 * nobody answers. Never throws.
 */
export async function isRemoved(
  client: Pick<KubernetesClient, 'getJson'>,
  { kind, namespace, name }: OwnerName,
  meansGone: readonly number[] = [],
): Promise<boolean> {
  try {
    const path = `/apis/apps/v1/namespaces/${namespace}/${kind}/${name}`
    const object = await client.getJson(path, {}, AbortSignal.timeout(OWNER_TIMEOUT_MS))
    return isMap(object) && textOf(mapOf(object, 'metadata'), 'deletionTimestamp') !== ''
  } catch (error) {
    return error instanceof ApiError && [NOT_FOUND, ...meansGone].includes(error.status)
  }
}
