// SPDX-License-Identifier: Apache-2.0
// The hash by which keys find their entry: the same in every worker, process and version, or sessions would move.

const OFFSET = 0x811c9dc5
const PRIME = 0x01000193
const GOLDEN = 0x9e3779b1

/** FNV-1a over UTF-16 units, mixed at the end. An unsigned 32-bit number. */
export function hash32(text: string): number {
  let hash = OFFSET
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), PRIME)
  return mix32(hash)
}

/** One of many numbers that follow from `hash`, by `index`. */
export function nextHash(hash: number, index: number): number {
  return mix32(hash ^ Math.imul(index + 1, GOLDEN))
}

/** The finalizer of MurmurHash3: every bit in changes half of the bits out. */
function mix32(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
