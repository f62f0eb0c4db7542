// SPDX-License-Identifier: Apache-2.0
// What a failed request to the apiserver means for whoever asked. Pure.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { ApiError } from '../../mesh/kubernetes/client.ts'

/** The HTTP status of an error; 0 when there was no answer. */
export function statusOf(error: unknown): number {
  return error instanceof ApiError ? error.status : 0
}

/** The error for the outside: refused for good, or worth another try. `doing` completes "cannot …". */
export function apiFailure(cause: unknown, doing: string): MeshError {
  const status = statusOf(cause)
  const detail = `cannot ${doing}: ${cause instanceof Error ? cause.message : String(cause)}`
  return status === 401 || status === 403
    ? new MeshError('APISERVER_DENIED', { detail, cause })
    : new MeshError('APISERVER_UNAVAILABLE', { detail, retryable: true, cause })
}
