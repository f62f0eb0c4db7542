// SPDX-License-Identifier: Apache-2.0
// What one side would do with a connection, for people. Pure.
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import type { Refusal } from '../../mesh/errors/refusal.ts'

/** What one side would do. */
export interface ExplainedSide {
  /** OK, or why it would be refused. */
  readonly code: ReasonCode
  /** One sentence. */
  readonly reason: string
  /** What to change; '' when nothing is wrong. */
  readonly fix: string
  /** `namespace/name` of the deciding policy, as its user named it where that can be told; '' without one. */
  readonly policy: string
}

/** What a refusal means for the side that gives it. */
export function refused({ code, detail }: Refusal): ExplainedSide {
  const { fix } = REASONS[code]
  return { code, reason: detail === '' ? fix : detail, fix, policy: '' }
}
