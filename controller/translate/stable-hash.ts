// SPDX-License-Identifier: Apache-2.0
// A number that follows from a text alone, the same in every process and release. No secret depends on it.

/** 32 bits, unsigned: FNV-1a over the UTF-16 units, then mixed so that near texts lie far apart. */
export function stableHash(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
