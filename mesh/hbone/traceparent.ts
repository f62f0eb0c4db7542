// SPDX-License-Identifier: Apache-2.0
// The `traceparent` header: one trace id per connection, adopted by the other side's log. Spec: W3C Trace Context.
import { randomFillSync } from 'node:crypto'

/** Ids of a connection in lower-case hex. */
export interface TraceParent {
  readonly traceId: string
  readonly spanId: string
}

// Random bytes are fetched in bulk: a call into the generator costs more than all else here.
const POOL_IDS = 128
const ID_BYTES = 24
const pool = Buffer.allocUnsafeSlow(POOL_IDS * ID_BYTES)
let next = POOL_IDS

/** SPEC HBONE §3.3: `00-<32 hex>-<16 hex>-00`, random per connection. */
export function createTraceparent(): string {
  if (next === POOL_IDS) {
    randomFillSync(pool)
    next = 0
  }
  const at = next++ * ID_BYTES
  const hex = pool.toString('hex', at, at + ID_BYTES)
  return `00-${hex.slice(0, 32)}-${hex.slice(32)}-00`
}

/** Reads exactly the form of version 00; anything else, and ids of zeros, is null. */
export function parseTraceparent(text: string): TraceParent | null {
  if (text.length !== 55) return null
  const match = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(text)
  const traceId = match?.[1]
  const spanId = match?.[2]
  if (traceId === undefined || spanId === undefined) return null
  return /^0+$/.test(traceId) || /^0+$/.test(spanId) ? null : { traceId, spanId }
}
