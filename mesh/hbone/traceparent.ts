// SPDX-License-Identifier: Apache-2.0
// The `traceparent` header: one trace id per connection, adopted by the other side's log. Spec: W3C Trace Context.
import { randomFillSync } from 'node:crypto'

/** Ids of a connection in lower-case hex. */
export interface TraceParent {
  readonly traceId: string
  readonly spanId: string
  /** Its sender keeps what it knows of the trace. */
  readonly isSampled: boolean
}

// Random bytes are fetched in bulk: a call into the generator costs more than all else here.
const POOL_IDS = 128
const ID_BYTES = 24
const TRACE_ID_DIGITS = 32
const pool = Buffer.allocUnsafeSlow(POOL_IDS * ID_BYTES)
let next = POOL_IDS

/** A trace id and a span id in one text of hex, random. */
function randomIds(): string {
  if (next === POOL_IDS) {
    randomFillSync(pool)
    next = 0
  }
  const at = next++ * ID_BYTES
  return pool.toString('hex', at, at + ID_BYTES)
}

/** SPEC HBONE §3.3: `00-<32 hex>-<16 hex>-00`, random per connection. */
export function createTraceparent(): string {
  const ids = randomIds()
  return `00-${ids.slice(0, TRACE_ID_DIGITS)}-${ids.slice(TRACE_ID_DIGITS)}-00`
}

/** Ids of a span that is in no trace, or in that of `parent`. */
export function createTraceIds(
  parent: Pick<TraceParent, 'traceId'> | null,
): Pick<TraceParent, 'traceId' | 'spanId'> {
  const ids = randomIds()
  return {
    traceId: parent?.traceId ?? ids.slice(0, TRACE_ID_DIGITS),
    spanId: ids.slice(TRACE_ID_DIGITS),
  }
}

export function formatTraceparent({ traceId, spanId, isSampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-0${isSampled ? 1 : 0}`
}

/** Reads exactly the form of version 00; anything else, and ids of zeros, is null. */
export function parseTraceparent(text: string): TraceParent | null {
  if (text.length !== 55) return null
  const match = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(text)
  const [, traceId, spanId, flags] = match ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return null
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

const MILLION = 1_000_000
/** Digits of hex that decide, from the end: SPEC W3C Trace Context Level 2 §3.2.2.3 has the random ones there. */
const DECIDING_DIGITS = 8

/** Whether a trace is among so many of a million. Its id decides, so that whoever asks with the same number decides alike. */
export function isTraceChosen(traceId: string, perMillion: number): boolean {
  const value = Number.parseInt(traceId.slice(-DECIDING_DIGITS), 16)
  return value * MILLION < perMillion * 16 ** DECIDING_DIGITS
}
