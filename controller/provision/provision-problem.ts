// SPDX-License-Identifier: Apache-2.0
// Why a waypoint is not as it should be, for people. Pure.

import { ApiError } from '../../mesh/kubernetes/client.ts'
import { apiFailure, statusOf } from '../kubernetes/api-failure.ts'
import { NameTaken } from './object-writer.ts'

const REFUSED: readonly number[] = [400, 422] // the object itself is wrong

/** One line of /provision. */
export interface ProvisionProblem {
  /** A reason code, or `WAYPOINT_NAME_TAKEN` of the findings. */
  readonly code: string
  readonly detail: string
  /** What the apiserver asks to wait; 0: nothing. */
  readonly retryAfterMs: number
}

/** Reads an error; `task` says what was being done. */
export function problemOf(error: unknown, task: string): ProvisionProblem {
  if (error instanceof NameTaken)
    return { code: 'WAYPOINT_NAME_TAKEN', detail: `${task}: ${error.message}`, retryAfterMs: 0 }
  const { code, detail } = apiFailure(error, `write ${task}`)
  return {
    code: REFUSED.includes(statusOf(error)) ? 'CONFIG_INVALID' : code,
    detail: detail ?? '',
    retryAfterMs: (error instanceof ApiError && error.retryAfterMs) || 0,
  }
}
