// SPDX-License-Identifier: Apache-2.0
// Joins HEADERS and CONTINUATION into one header block and decodes it. A block in one frame is decoded where it
// lies; others are collected up to a bound. Spec: RFC 9113 §4.3, §6.2, §6.10.
import { type Refusal, refuse } from '../errors/refusal.ts'
import { FLAG, readUint31 } from './frames.ts'
import { type DecodedBlock, HpackDecoder } from './hpack/decoder.ts'
import { H2_LIMITS } from './limits.ts'

/** Raw blocks may be this much larger than the accepted list: then the answer is 431 and not the end of the tunnel. */
const BLOCK_PER_LIST = 2

/** One per session. */
export class HeaderAssembler {
  readonly maxBlockBytes: number
  readonly #decoder: HpackDecoder
  /** Stream whose block is unfinished; 0 = none. Only its CONTINUATION may come next. */
  pendingStreamId = 0
  /** Facts of the block decoded last. */
  isEndStream = false
  dependsOnItself = false
  #parts: Buffer[] | null = null
  #bytes = 0
  #continuations = 0

  constructor(maxListBytes: number) {
    this.maxBlockBytes = maxListBytes * BLOCK_PER_LIST
    this.#decoder = new HpackDecoder({
      tableBytes: H2_LIMITS.headerTable.value,
      listBytes: maxListBytes,
      fields: H2_LIMITS.headerFields.value,
    })
  }

  /** A HEADERS frame. Returns the block, null when CONTINUATION must follow, or why the connection is lost. */
  onHeaders(
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): DecodedBlock | Refusal | null {
    let from = start
    let to = end
    if (flags & FLAG.PADDED) {
      if (from >= to) return refuse('H2_FRAME_SIZE', 'HEADERS without its padding length')
      to -= bytes[from++] ?? 0
    }
    this.dependsOnItself = false
    if (flags & FLAG.PRIORITY) {
      if (to - from < 5) return refuse('H2_FRAME_SIZE', 'HEADERS without its priority')
      this.dependsOnItself = readUint31(bytes, from) === streamId
      from += 5
    }
    // SPEC RFC9113 §6.2: padding that exceeds the block is a PROTOCOL_ERROR.
    if (from > to) return refuse('H2_PROTOCOL', 'padding exceeds the frame')
    this.isEndStream = (flags & FLAG.END_STREAM) !== 0
    if (flags & FLAG.END_HEADERS) return this.#decoder.decode(bytes, from, to)
    this.pendingStreamId = streamId
    this.#parts = [Buffer.from(bytes.subarray(from, to))]
    this.#bytes = to - from
    this.#continuations = 0
    return null
  }

  /** A CONTINUATION frame of the pending stream; returns as onHeaders does. */
  onContinuation(flags: number, bytes: Buffer, start: number, end: number): DecodedBlock | Refusal | null {
    if (this.#parts === null) return refuse('H2_PROTOCOL', 'CONTINUATION without HEADERS')
    this.#bytes += end - start
    if (++this.#continuations > H2_LIMITS.continuationFrames.value) {
      return refuse('H2_FLOOD', 'too many CONTINUATION frames')
    }
    if (this.#bytes > this.maxBlockBytes) return refuse('H2_HEADERS_TOO_LARGE', 'header block')
    this.#parts.push(Buffer.from(bytes.subarray(start, end)))
    if ((flags & FLAG.END_HEADERS) === 0) return null
    const block = Buffer.concat(this.#parts)
    this.#parts = null
    this.pendingStreamId = 0
    return this.#decoder.decode(block, 0, block.length)
  }
}
