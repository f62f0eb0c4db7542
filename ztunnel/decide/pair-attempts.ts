// SPDX-License-Identifier: Apache-2.0
// What the last connections of a pair came to, from the records of one node. Pure. A connection that carried bytes counts
// as a success whatever ended it: the question is whether one gets through.
import { isReasonCode, type ReasonCode } from '../../mesh/errors/reasons.ts'

/** Which connections are meant. Addresses are `ip:port`. */
export interface PairQuestion {
  readonly direction: 'outbound' | 'inbound'
  readonly sourceIdentity: string
  readonly sourceIps: readonly string[]
  /** Any of these: what was asked for, what was dialled, what the tunnel was told. */
  readonly targets: readonly string[]
}

/** A connection that never could carry bytes. */
export interface FailedAttempt {
  readonly timeMs: number
  readonly code: ReasonCode
  readonly detail: string
  readonly policy: string
}

/** `failed` is null when nothing failed since the last success. Times are epoch ms. */
export interface PairAttempts {
  readonly succeededMs: number | null
  readonly failed: FailedAttempt | null
  /** Failures since the last success. */
  readonly failedCount: number
}

const NO_ATTEMPTS: PairAttempts = { succeededMs: null, failed: null, failedCount: 0 }

/** The attempts of a pair, in the order of `lines`, oldest first. */
export function pairAttempts(lines: readonly string[], question: PairQuestion): PairAttempts {
  let attempts = NO_ATTEMPTS
  const hints = [question.sourceIdentity, ...question.sourceIps].filter((hint) => hint !== '')
  for (const line of lines) {
    // Reading a line costs more than looking at it, and most are not about this pair.
    if (!hints.some((hint) => line.includes(hint))) continue
    const record = readRecord(line)
    if (record === null || !isOfPair(record, question)) continue
    const timeMs = Date.parse(textOf(record, 'time'))
    const code = textOf(record, 'reason')
    if (record.connect_ms !== undefined || code === 'OK') attempts = { ...NO_ATTEMPTS, succeededMs: timeMs }
    else if (isReasonCode(code)) {
      const failed = { timeMs, code, detail: textOf(record, 'detail'), policy: textOf(record, 'policy') }
      attempts = { ...attempts, failed, failedCount: attempts.failedCount + 1 }
    }
  }
  return attempts
}

type AnyRecord = Readonly<Record<string, unknown>>

function readRecord(line: string): AnyRecord | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as AnyRecord) : null // as: an object has such fields
  } catch {
    return null // a dump may have been cut
  }
}

function textOf(record: AnyRecord, field: string): string {
  const value = record[field]
  return typeof value === 'string' ? value : ''
}

function isOfPair(record: AnyRecord, question: PairQuestion): boolean {
  if (record.direction !== question.direction) return false
  const from = textOf(record, 'src.addr')
  const isFrom =
    question.sourceIps.includes(from.slice(0, from.lastIndexOf(':')).replace(/^\[|\]$/g, '')) ||
    (question.sourceIdentity !== '' && textOf(record, 'src.identity') === question.sourceIdentity)
  if (!isFrom) return false
  const tunnelled = textOf(record, 'dst.hbone_addr')
  return question.targets.includes(tunnelled === '' ? textOf(record, 'dst.addr') : tunnelled)
}
