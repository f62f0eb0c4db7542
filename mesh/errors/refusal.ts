// SPDX-License-Identifier: Apache-2.0
// An expected "no": what an honest or hostile peer can cause. Returned, never thrown.
import type { ReasonCode } from './reasons.ts'

/** Why something is not done. `detail` is for people and may quote hostile input: print it escaped. */
export interface Refusal {
  readonly kind: 'refusal'
  readonly code: ReasonCode
  readonly detail: string
}

/** Makes a refusal; `detail` adds what the code alone does not say. */
export function refuse(code: ReasonCode, detail = ''): Refusal {
  return { kind: 'refusal', code, detail }
}

/** True when a decision or parser said no. */
export function isRefusal(value: unknown): value is Refusal {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'refusal'
}
