// SPDX-License-Identifier: Apache-2.0
// What one worker holds of bodies: read here, and not yet taken there. The more that is, the less is read at a time: what is
// not read waits in the kernel, and its sender waits with it. Nobody is refused for it.

/** Read at most at a time by a socket that nothing speaks against: bulk data in few system calls. */
export const READ_BLOCK_BYTES = 262_144
/** From so many held bytes on a worker reads a quarter of that at a time: sixteen streams that wait have filled it. */
export const HELD_EASY_BYTES = 4_194_304
/** From so many on it reads a record of TLS at a time. */
export const HELD_MUCH_BYTES = 33_554_432
const FEW_BYTES = 65_536
/** Smaller reads cost more than they leave. */
export const LEAST_READ_BYTES = 16_384

/** How much may be read at a time by a worker that holds so much. */
export function mostReadBytes(heldBytes: number): number {
  if (heldBytes < HELD_EASY_BYTES) return READ_BLOCK_BYTES
  return heldBytes < HELD_MUCH_BYTES ? FEW_BYTES : LEAST_READ_BYTES
}

/** One for each worker; counted by block, not by content. */
export class HeldBytes {
  bytes = 0
}
