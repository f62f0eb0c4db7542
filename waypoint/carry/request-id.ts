// SPDX-License-Identifier: Apache-2.0
// Ids of requests that came without one: random UUIDs of version 4, as Envoy makes them. Random bytes are fetched in bulk.
import { randomFillSync } from 'node:crypto'

const POOL_IDS = 256
const ID_BYTES = 16
const pool = Buffer.allocUnsafeSlow(POOL_IDS * ID_BYTES)
let next = POOL_IDS

/** SPEC RFC9562 §5.4. */
export function createRequestId(): string {
  if (next === POOL_IDS) {
    randomFillSync(pool)
    next = 0
  }
  const at = next++ * ID_BYTES
  pool[at + 6] = ((pool[at + 6] ?? 0) & 0x0f) | 0x40
  pool[at + 8] = ((pool[at + 8] ?? 0) & 0x3f) | 0x80
  const hex = pool.toString('hex', at, at + ID_BYTES)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
