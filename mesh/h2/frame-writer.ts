// SPDX-License-Identifier: Apache-2.0
// Everything a session sends: small frames gather in the worker's staging block and leave as one write per turn,
// large payload is framed where it lies, and what the peer's windows or the transport do not take waits in its
// stream and leaves round-robin. Order on the wire is the order of calls. Spec: RFC 9113 §5.2, §6.9.
import type { HeaderList } from '../http/header-list.ts'
import type { Block, ByteStream } from '../reactor/byte-stream.ts'
import { HEADROOM_BYTES } from '../reactor/byte-stream.ts'
import { ByteQueue } from './byte-queue.ts'
import type { FloodGuard } from './flood-guard.ts'
import {
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  FLAG,
  FRAME,
  FRAME_HEADER_BYTES,
  writeFrameHeader,
} from './frames.ts'
import { H2_LIMITS } from './limits.ts'
import type { SessionResources, StagingHolder } from './session-resources.ts'
import { type H2Stream, STREAM, type StreamOwner } from './stream.ts'

const IN_PLACE_BYTES = H2_LIMITS.inPlaceFrame.value
const FAIR_FRAME_BYTES = H2_LIMITS.fairFrame.value
const LOW_WATER_BYTES = H2_LIMITS.streamLowWater.value
/** How long after a change of writer a connection counts as shared. */
const SHARED_MS = 100
/** Our header and the headroom the transport may use in front of it. */
const CLOBBERED_BYTES = FRAME_HEADER_BYTES + HEADROOM_BYTES
// Bytes of the caller's that a frame header in the middle of its chunk overwrites; restored after the write.
const saved = Buffer.allocUnsafeSlow(CLOBBERED_BYTES)

/** What a writer asks of its session besides what streams ask. */
interface WriterOwner extends StreamOwner {
  onLocalEndSent(stream: H2Stream): void
  /** The last byte of the body has left. */
  sendTrailers(stream: H2Stream, trailers: HeaderList): void
}

/** One per session. */
export class FrameWriter implements StagingHolder {
  readonly #transport: ByteStream
  readonly #resources: SessionResources
  readonly #owner: WriterOwner
  readonly #guard: FloodGuard
  /** Bytes the peer lets us send on the connection. */
  sendWindowBytes = DEFAULT_WINDOW_BYTES
  peerMaxFrameBytes = DEFAULT_MAX_FRAME_BYTES
  /** The transport said stop; it says onDrain when it has room. */
  isCongested = false
  #backlogBytes = 0
  #isClosed = false
  // Streams that wait for the transport or the connection window, served in turn.
  #pendingHead: H2Stream | null = null
  #pendingTail: H2Stream | null = null
  // While several streams write, frames are cut: see fairFrame in limits.ts.
  #lastWriterId = 0
  #sharedUntilMs = -1

  constructor(transport: ByteStream, resources: SessionResources, owner: WriterOwner, guard: FloodGuard) {
    this.#transport = transport
    this.#resources = resources
    this.#owner = owner
    this.#guard = guard
  }

  /** Memory `reserve` hands out positions of. */
  get staging(): Buffer {
    return this.#resources.staging.bytes
  }

  /** Control bytes written while the peer was not reading. */
  get backlogBytes(): number {
    return this.#backlogBytes
  }

  /** Room for a control frame of `bytes` at the returned position of `staging`; follow with commit. */
  reserve(bytes: number): number {
    if (this.isCongested) this.#backlogBytes += bytes
    return this.#resources.reserve(this, bytes)
  }

  commit(end: number): void {
    this.#resources.commit(end)
  }

  flushStaging(): void {
    const bytes = this.#resources.takeStaged(this)
    if (bytes > 0 && !this.#isClosed) this.#note(this.#transport.write(this.#resources.staging, 0, bytes))
  }

  /** Sends what is staged and takes nothing more. */
  close(): void {
    this.flushStaging()
    this.#isClosed = true
    this.#pendingHead = null
    this.#pendingTail = null
  }

  /** Takes all bytes; false when the owner should wait for onDrain. */
  write(stream: H2Stream, block: Block, start: number, end: number): boolean {
    const nowMs = this.#resources.scheduler.nowMs
    if (stream.id !== this.#lastWriterId) {
      if (this.#lastWriterId !== 0) this.#sharedUntilMs = nowMs + SHARED_MS
      this.#lastWriterId = stream.id
    }
    let at = start
    if (stream.outbound === null && !this.isCongested) {
      const maxFrameBytes = this.#maxFrameBytes(nowMs)
      while (at < end && !this.isCongested) {
        const bytes = Math.min(end - at, maxFrameBytes, stream.sendWindowBytes, this.sendWindowBytes)
        if (bytes <= 0) break
        this.#sendData(stream, block, at, at + bytes, 0)
        at += bytes
      }
    }
    if (at === end && !this.isCongested) return true
    if (at < end) {
      if (stream.outbound === null) stream.outbound = new ByteQueue(this.#resources, false)
      stream.outbound.push(block.bytes, at, end)
    }
    stream.bits |= STREAM.WANTS_DRAIN
    this.addPending(stream)
    return false
  }

  /** Sends END_STREAM now, or with the last waiting byte. */
  end(stream: H2Stream): void {
    if (stream.outbound !== null) return
    const at = this.#resources.reserve(this, FRAME_HEADER_BYTES)
    this.commit(writeFrameHeader(this.staging, at, 0, FRAME.DATA, FLAG.END_STREAM, stream.id))
    this.#owner.onLocalEndSent(stream)
  }

  addPending(stream: H2Stream): void {
    if (stream.bits & STREAM.PENDING) return
    stream.bits |= STREAM.PENDING
    stream.nextPending = null
    if (this.#pendingTail === null) this.#pendingHead = stream
    else this.#pendingTail.nextPending = stream
    this.#pendingTail = stream
  }

  onDrain(): void {
    this.isCongested = false
    this.#backlogBytes = 0
    this.flushPending()
  }

  /** One frame per waiting stream in turn, until windows or transport are exhausted. */
  flushPending(): void {
    while (this.#pendingHead !== null && !this.isCongested) {
      const stream = this.#pendingHead
      if (stream.outbound !== null && this.sendWindowBytes <= 0 && stream.sendWindowBytes > 0) return
      this.#pendingHead = stream.nextPending
      if (this.#pendingHead === null) this.#pendingTail = null
      stream.nextPending = null
      stream.bits &= ~STREAM.PENDING
      if (stream.bits & STREAM.CLOSED) continue
      // A stream whose own window is shut leaves the line; its WINDOW_UPDATE puts it back.
      if (stream.outbound !== null && stream.sendWindowBytes > 0) this.#sendQueued(stream, stream.outbound)
      if (stream.bits & STREAM.WANTS_DRAIN && stream.bufferedBytes <= LOW_WATER_BYTES)
        this.#owner.defer(stream)
      if (stream.outbound !== null && stream.sendWindowBytes > 0) this.addPending(stream)
    }
  }

  #sendQueued(stream: H2Stream, queue: ByteQueue): void {
    const head = queue.head
    if (head === null) return
    const limit =
      this.#pendingHead === null ? this.#maxFrameBytes(this.#resources.scheduler.nowMs) : FAIR_FRAME_BYTES
    const bytes = Math.min(
      head.end - head.start,
      limit,
      this.peerMaxFrameBytes,
      stream.sendWindowBytes,
      this.sendWindowBytes,
    )
    const isLast = bytes === queue.bytes
    const trailers = isLast ? queue.takeTrailers() : null
    const isEnd = isLast && trailers === null && (stream.bits & STREAM.LOCAL_END_ASKED) !== 0
    this.#sendData(stream, head.block, head.start, head.start + bytes, isEnd ? FLAG.END_STREAM : 0)
    queue.consume(bytes)
    if (isLast) stream.outbound = null
    if (isEnd) this.#owner.onLocalEndSent(stream)
    if (trailers !== null) this.#owner.sendTrailers(stream, trailers)
  }

  #maxFrameBytes(nowMs: number): number {
    const isShared = nowMs < this.#sharedUntilMs || this.#pendingHead !== null
    return isShared ? Math.min(FAIR_FRAME_BYTES, this.peerMaxFrameBytes) : this.peerMaxFrameBytes
  }

  #sendData(stream: H2Stream, block: Block, start: number, end: number, flags: number): void {
    const bytes = end - start
    stream.sendWindowBytes -= bytes
    this.sendWindowBytes -= bytes
    this.#guard.noteDataSent(bytes)
    if (bytes < IN_PLACE_BYTES) {
      const at = this.#resources.reserve(this, FRAME_HEADER_BYTES + bytes)
      const payload = writeFrameHeader(this.staging, at, bytes, FRAME.DATA, flags, stream.id)
      block.bytes.copy(this.staging, payload, start, end)
      this.commit(payload + bytes)
      return
    }
    if (start < HEADROOM_BYTES) {
      const at = this.#resources.reserve(this, FRAME_HEADER_BYTES)
      this.commit(writeFrameHeader(this.staging, at, bytes, FRAME.DATA, flags, stream.id))
      this.flushStaging()
      this.#note(this.#transport.write(block, start, end))
      return
    }
    this.flushStaging()
    const frame = start - FRAME_HEADER_BYTES
    // Deep in the block the transport may use the bytes in front of ours, which the caller did not give away.
    const mustRestore = frame >= HEADROOM_BYTES
    if (mustRestore) block.bytes.copy(saved, 0, start - CLOBBERED_BYTES, start)
    writeFrameHeader(block.bytes, frame, bytes, FRAME.DATA, flags, stream.id)
    this.#note(this.#transport.write(block, frame, end))
    if (mustRestore) saved.copy(block.bytes, start - CLOBBERED_BYTES, 0, CLOBBERED_BYTES)
  }

  #note(isWritable: boolean): void {
    if (!isWritable) this.isCongested = true
  }
}
