// SPDX-License-Identifier: Apache-2.0
// What breaks: a socket, a disk, a bug. Thrown; carries its code, its side and whether trying again may help.
import { REASONS, type ReasonCode } from './reasons.ts'

/** Where the failure lies, seen from this process. */
export type Side = 'downstream' | 'upstream' | 'internal'

/** Facts of a MeshError beside its code. */
export interface MeshErrorFacts {
  readonly side?: Side
  readonly retryable?: boolean
  readonly detail?: string
  readonly cause?: unknown
}

/** The only error class of the product. Match on `code`, never on the text. */
export class MeshError extends Error {
  readonly code: ReasonCode
  readonly side: Side
  readonly retryable: boolean
  readonly detail: string

  constructor(code: ReasonCode, facts: MeshErrorFacts = {}) {
    super(`${code}: ${facts.detail ?? REASONS[code].fix}`, { cause: facts.cause })
    this.name = 'MeshError'
    this.code = code
    this.side = facts.side ?? 'internal'
    this.retryable = facts.retryable ?? false
    this.detail = facts.detail ?? ''
  }
}
