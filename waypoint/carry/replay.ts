// SPDX-License-Identifier: Apache-2.0
// The beginning of a request's body, kept until an answer has begun, so that the request can be sent once more.
import { type Block, type ByteStream, HEADROOM_BYTES } from '../../mesh/reactor/byte-stream.ts'
import { MAX_REPLAY_BYTES } from './limits.ts'

/** Bytes of one request. */
export class Replay {
  #chunks: Buffer[] = []
  byteCount = 0
  /** False once more has come than is kept. */
  isWhole = true

  /** Copies the bytes. */
  keep(bytes: Buffer, start: number, end: number): void {
    if (!this.isWhole) return
    if (this.byteCount + end - start > MAX_REPLAY_BYTES) {
      this.release()
      this.isWhole = false
      return
    }
    this.#chunks.push(Buffer.from(bytes.subarray(start, end)))
    this.byteCount += end - start
  }

  /** Writes everything, by way of `scratch`. False: the stream wants a pause. */
  writeTo(stream: ByteStream, scratch: Block): boolean {
    return writeAll(this.#chunks, stream, scratch)
  }

  release(): void {
    this.#chunks = []
    this.byteCount = 0
  }
}

/** Writes bytes that are not in native memory. False: the stream wants a pause. */
export function writeAll(chunks: readonly Uint8Array[], stream: ByteStream, scratch: Block): boolean {
  let isFlowing = true
  const room = scratch.bytes.length - HEADROOM_BYTES
  for (const chunk of chunks)
    for (let from = 0; from < chunk.length; from += room) {
      const part = chunk.subarray(from, from + room)
      scratch.bytes.set(part, HEADROOM_BYTES)
      isFlowing = stream.write(scratch, HEADROOM_BYTES, HEADROOM_BYTES + part.length)
    }
  return isFlowing
}
