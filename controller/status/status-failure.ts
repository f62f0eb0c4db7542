// SPDX-License-Identifier: Apache-2.0
// What it means that a status could not be written: for all of them, or for this one only. Pure.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { apiFailure, statusOf } from '../kubernetes/api-failure.ts'
import { refKey } from '../watch/config-object.ts'
import type { StatusPatch } from './status-patch.ts'

/** True when another status would have failed as well, and this one may succeed soon. */
export function isTransient(cause: unknown): boolean {
  const status = statusOf(cause)
  return status === 0 || status === 401 || status === 408 || status === 429 || status >= 500
}

/** The failure for people. APISERVER_UNAVAILABLE, APISERVER_DENIED, or STATUS_REFUSED: this status is not taken. */
export function statusFailure({ object }: StatusPatch, cause: unknown): MeshError {
  const failure = apiFailure(cause, `write the status of ${refKey(object)}`)
  if (isTransient(cause) || failure.code === 'APISERVER_DENIED') return failure
  return new MeshError('STATUS_REFUSED', { detail: failure.detail, retryable: true, cause })
}
