// SPDX-License-Identifier: Apache-2.0
// Much data that both ends of a test can make, so that only its hash has to be told.
import { createHash } from 'node:crypto'

const CHUNK_BYTES = 65_536
export const BULK_CHUNKS = 1024
export const BULK_BYTES = BULK_CHUNKS * CHUNK_BYTES

/** Part `index` of the pattern: differs from its neighbours everywhere. */
export function bulkChunk(index: number): Buffer {
  return Buffer.alloc(CHUNK_BYTES, `chunk ${index} `)
}

/** SHA-256 of the whole, in hex. */
export function bulkHash(): string {
  const hash = createHash('sha256')
  for (let index = 0; index < BULK_CHUNKS; index++) hash.update(bulkChunk(index))
  return hash.digest('hex')
}
