// SPDX-License-Identifier: Apache-2.0
// Writes one status: reads what stands there now, puts what is ours into it, and writes only over exactly that version.
// What another wrote meanwhile is read again, never overwritten.

import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { statusOf } from '../kubernetes/api-failure.ts'
import { findKind } from '../watch/kinds.ts'
import { isMap, own, type RawMap } from '../watch/value-mistakes.ts'
import { isAhead, type MergedStatus, mergeStatus } from './merge-status.ts'
import type { StatusPatch } from './status-patch.ts'

const MAX_STATUS_TRIES = 4 // of one write: who loses that often to others comes back later
const WRITE_TIMEOUT_MS = 10_000 // longer than an apiserver that is alive takes
const NOT_FOUND = 404
const CONFLICT = 409

/** What of a client is needed. */
export type StatusApi = Pick<KubernetesClient, 'getJson' | 'replace'>

/**
 * `equal`: it said so already. `gone`: there is no such object any more. `outdated`: a later version of it was spoken
 * about already. `fenced`: another replica leads.
 */
export type WriteOutcome = 'written' | 'equal' | 'gone' | 'outdated' | 'fenced'

/** What a writer needs; `fence` is asked before every request. */
export interface StatusWriteOptions {
  readonly api: StatusApi
  readonly clock: Clock
  readonly fence: () => string | null
  readonly signal: AbortSignal
}

/** What becomes of a status as it stands; null: a later version of the object was spoken about already. */
export type StatusEdit = (current: RawMap, patch: StatusPatch, nowMs: number) => MergedStatus | null

const sayOurs: StatusEdit = (current, patch, nowMs) =>
  isAhead(current, patch) ? null : mergeStatus(current, patch, nowMs)

/** @throws ApiError: 409 when others were faster every time; Error for no answer */
export async function writeStatus(
  patch: StatusPatch,
  options: StatusWriteOptions,
  edit: StatusEdit = sayOurs,
): Promise<WriteOutcome> {
  const { api, clock, fence } = options
  const path = statusPath(patch)
  for (let tries = 1; ; tries++) {
    if (fence() === null) return 'fenced'
    const live = await api.getJson(path, {}, deadline(options)).catch((error: unknown) => {
      if (statusOf(error) === NOT_FOUND) return undefined
      throw error
    })
    if (live === undefined) return 'gone'
    const metadata = isMap(live) ? own(live, 'metadata') : undefined
    if (!isMap(live) || !isMap(metadata)) throw new Error('the answer is no object')
    if (own(metadata, 'uid') !== patch.uid) return 'gone'
    const before = own(live, 'status')
    const edited = edit(isMap(before) ? before : {}, patch, clock.nowMs)
    if (edited === null) return 'outdated'
    if (edited.change === 'none') return 'equal'
    // Asked again: the answer may have taken as long as a leadership.
    if (fence() === null) return 'fenced'
    try {
      // Its resourceVersion goes with it: what changed since is refused.
      await api.replace(path, { ...live, status: edited.status }, deadline(options))
      return 'written'
    } catch (error) {
      if (statusOf(error) !== CONFLICT || tries === MAX_STATUS_TRIES) throw error
    }
  }
}

/** `/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/cart/status`. */
export function statusPath({ object, apiVersion }: Pick<StatusPatch, 'object' | 'apiVersion'>): string {
  const { group, kind, namespace, name } = object
  const scope = namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`
  const plural = findKind(group, kind)?.plural ?? ''
  return `/apis/${apiVersion}${scope}/${plural}/${encodeURIComponent(name)}/status`
}

function deadline({ signal }: StatusWriteOptions): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(WRITE_TIMEOUT_MS)])
}
