// SPDX-License-Identifier: Apache-2.0
// Reads a sealed file frame by frame. What a crash left at its end is dropped: a true beginning is what comes out, or a
// refusal. Nobody can have changed anything but the length.
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { MeshError } from '../errors/mesh-error.ts'
import { assertPrivate } from './node-key.ts'
import {
  checkHeader,
  FrameChain,
  type FrameKind,
  HEAD_LENGTH,
  MAC_LENGTH,
  parseHead,
  type SealOwner,
  type SealPurpose,
} from './sealed-frames.ts'

/** A longer file is not read. */
const MAX_SEALED_BYTES = 1024 * 1024 * 1024

/** A frame whose MAC is right. */
export interface SealedFrame {
  readonly kind: FrameKind
  readonly timeMs: number
  readonly payload: Buffer
  /** Where the next one begins. */
  readonly end: number
  /** The chain goes on from here. */
  readonly mac: Buffer
}

/** What is read. */
export interface SealedPlace {
  readonly path: string
  readonly key: Buffer
  readonly purpose: SealPurpose
  readonly owner: SealOwner
}

/**
 * The frames in their order, the header first.
 * @throws MeshError SNAPSHOT_PERMISSIONS, SNAPSHOT_INVALID (also after frames that were good); ENOENT and its like
 */
export async function* readFrames(place: SealedPlace): AsyncGenerator<SealedFrame> {
  const { path, key, purpose, owner } = place
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const facts = await file.stat()
    assertPrivate(path, facts)
    if (!facts.isFile() || facts.size > MAX_SEALED_BYTES) throw invalid(path, 'it is no file, or too long')
    const chain = new FrameChain(key)
    for (let position = 0; ; ) {
      const frame = await readFrame(file, position, facts.size, chain)
      if (frame === 'broken') throw invalid(path, `byte ${position}: this is not what was written`)
      if (frame === 'torn' && position === 0) throw invalid(path, 'it has no beginning')
      if (frame === 'torn') return
      if ((position === 0) !== (frame.kind === 'header')) throw invalid(path, 'a header is out of place')
      if (frame.kind === 'header') {
        const refused = checkHeader(frame.payload, purpose, owner)
        if (refused !== undefined) throw invalid(path, refused.detail)
      }
      yield frame
      position = frame.end
    }
  } finally {
    await file.close()
  }
}

/** `torn`: the end, or what a crash or a power cut made of it; `broken`: more follows. */
async function readFrame(
  file: FileHandle,
  position: number,
  size: number,
  chain: FrameChain,
): Promise<SealedFrame | 'torn' | 'broken'> {
  const head = await bytesAt(file, position, HEAD_LENGTH)
  if (head.length < HEAD_LENGTH || isZero(head)) return 'torn'
  const facts = parseHead(head)
  if (facts === null) return 'broken'
  const end = position + HEAD_LENGTH + facts.payloadLength + MAC_LENGTH
  if (end > size) return 'torn'
  const body = await bytesAt(file, position + HEAD_LENGTH, facts.payloadLength + MAC_LENGTH)
  const payload = body.subarray(0, facts.payloadLength)
  const mac = body.subarray(facts.payloadLength)
  if (await chain.accept(head, payload, mac))
    return { kind: facts.kind, timeMs: facts.timeMs, payload, end, mac: chain.last }
  return isZero(await bytesAt(file, end, HEAD_LENGTH)) ? 'torn' : 'broken'
}

async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length)
  const { bytesRead } = await file.read(buffer, 0, length, position)
  return buffer.subarray(0, bytesRead)
}

const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0)

function invalid(path: string, detail: string): MeshError {
  return new MeshError('SNAPSHOT_INVALID', { detail: `${path}: ${detail}` })
}
