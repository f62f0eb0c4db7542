// SPDX-License-Identifier: Apache-2.0
// Copies what is still true of a journal to a new file. Takes a while and much memory for a moment: it is done in the
// transient thread. Reads with the same distrust as a start does, so that no damage is sealed anew.
import { ResponseCompactor } from '../discovery/compact-responses.ts'
import { MeshError } from '../errors/mesh-error.ts'
import { readFrames, type SealedPlace } from './read-frames.ts'
import { type NewFrame, type SealedEnd, writeBeside } from './write-sealed.ts'

/**
 * The journal that ends with the frame of this MAC, compacted beside its place.
 * @throws MeshError SNAPSHOT_INVALID when it does not end so, or is not ours any more; errors of the file system
 */
export async function compactJournal(
  place: SealedPlace,
  lastMac: Uint8Array,
): Promise<SealedEnd & { readonly path: string }> {
  const compactor = new ResponseCompactor()
  let mac: Buffer = Buffer.alloc(0)
  let lastMs = Number.NaN
  for await (const frame of readFrames(place)) {
    if (frame.kind === 'content') compactor.add(frame.payload)
    mac = frame.mac
    lastMs = frame.timeMs
  }
  if (!mac.equals(lastMac))
    throw new MeshError('SNAPSHOT_INVALID', { detail: `${place.path}: its end is not what was written` })
  return writeBeside(place, lastMs, framesOf(compactor, lastMs))
}

function* framesOf(compactor: ResponseCompactor, timeMs: number): Generator<NewFrame> {
  for (const payload of compactor.responses()) yield { kind: 'content', timeMs, payload }
}
