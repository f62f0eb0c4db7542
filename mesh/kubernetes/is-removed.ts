// SPDX-License-Identifier: Apache-2.0
// Whether a part of ours that is told to end is replaced, or taken away for good: by the object that makes its pods.
import { ApiError, type KubernetesClient } from './client.ts'
import { isMap, mapOf, textOf } from './raw-map.ts'

/** For one question; the end of a pod waits for so many of them and no longer. */
const OWNER_TIMEOUT_MS = 2_000
/** A busy apiserver answers late: what would be left for ever is worth asking again. */
const OWNER_TRIES = 3
const NOT_FOUND = 404
const SERVER_ERROR = 500

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
  const path = `/apis/apps/v1/namespaces/${namespace}/${kind}/${name}`
  for (let tries = 1; tries <= OWNER_TRIES; tries++)
    try {
      const object = await client.getJson(path, {}, AbortSignal.timeout(OWNER_TIMEOUT_MS))
      return isMap(object) && textOf(mapOf(object, 'metadata'), 'deletionTimestamp') !== ''
    } catch (error) {
      if (error instanceof ApiError && error.status < SERVER_ERROR)
        return [NOT_FOUND, ...meansGone].includes(error.status)
    }
  return false
}
