// SPDX-License-Identifier: Apache-2.0
// Writes a sealed file as a whole: beside its place, to the disk, then into its place. Whoever reads sees the old one or
// the new one.
import { randomUUID } from 'node:crypto'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { SealedPlace } from './read-frames.ts'
import { FrameChain, sealHeader } from './sealed-frames.ts'

/** A frame to be written. */
export interface NewFrame {
  readonly kind: 'content' | 'confirmation'
  readonly timeMs: number
  readonly payload: Uint8Array
}

/** Where a file that was written ends. */
export interface SealedEnd {
  readonly length: number
  readonly mac: Buffer
}

/** Writes header and frames to a file with a name of its own beside `path`. Returns that name, and where it ends. */
export async function writeBeside(
  place: SealedPlace,
  timeMs: number,
  frames: Iterable<NewFrame> | AsyncIterable<NewFrame>,
): Promise<SealedEnd & { readonly path: string }> {
  const { key, purpose, owner } = place
  const path = `${place.path}.${randomUUID()}`
  const file = await open(path, 'wx', 0o600)
  const chain = new FrameChain(key)
  let length = 0
  const append = async (pieces: readonly Uint8Array[]): Promise<void> => {
    const bytes = Buffer.concat(pieces)
    await file.writeFile(bytes)
    length += bytes.length
  }
  try {
    await append(await chain.seal('header', timeMs, sealHeader(purpose, owner)))
    for await (const frame of frames) await append(await chain.seal(frame.kind, frame.timeMs, frame.payload))
    await file.datasync()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
  return { path, length, mac: chain.last }
}

/** Puts a file there. */
export async function writeSealed(
  place: SealedPlace,
  timeMs: number,
  frames: Iterable<NewFrame>,
): Promise<SealedEnd> {
  const { path, ...end } = await writeBeside(place, timeMs, frames)
  await moveInto(place.path, path)
  return end
}

/** Puts what was written beside its place into it; what cannot be put there is removed. */
export async function moveInto(place: string, path: string): Promise<void> {
  try {
    await rename(path, place)
  } catch (error) {
    await rm(path, { force: true })
    throw error
  }
}

/** Removes what writers that were killed have left beside `path`. */
export async function sweepBeside(path: string): Promise<void> {
  const prefix = `${basename(path)}.`
  const left = (await readdir(dirname(path))).filter((name) => name.startsWith(prefix))
  for (const name of left) await rm(join(dirname(path), name), { force: true })
}
