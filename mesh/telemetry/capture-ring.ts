// SPDX-License-Identifier: Apache-2.0
// Payload on its way from a worker to main while somebody captures it: frames in shared memory, one writer, one reader. A
// full ring drops the frame and counts it: traffic waits for nobody.
import { plainBytes } from '../reactor/ffi/native.ts'

/** Room for one worker's payload between two reads. */
export const CAPTURE_RING_BYTES = 4_194_304
/** What a frame says: a connection that is captured from now on, bytes of it, its end. */
export type CaptureKind = 'begin' | 'to-server' | 'to-client' | 'end'
const KINDS = ['begin', 'to-server', 'to-client', 'end'] as const satisfies readonly CaptureKind[]

/** One frame. */
export interface CaptureFrame {
  readonly kind: CaptureKind
  /** Number of the connection in its worker. */
  readonly connection: number
  /** Epoch ms. */
  readonly atMs: number
  /** Bytes of that direction before these. */
  readonly offset: number
  /** Of a beginning: JSON; valid during the call only. */
  readonly payload: Buffer
}

const HEAD = 0
const TAIL = 1
const DROPPED = 2
const HEADER_BYTES = 16
/** length u32, kind u32, connection u32, unused u32, time f64, offset f64 */
const FRAME_BYTES = 32

/** Positions are offsets; one byte stays free, so that a full ring is not an empty one. */
export class CaptureRing {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #bytes: Buffer
  readonly #frame = Buffer.alloc(FRAME_BYTES)

  /** `memory` from another thread, or new. */
  constructor(memory?: SharedArrayBuffer, byteLength = CAPTURE_RING_BYTES) {
    this.memory = memory ?? new SharedArrayBuffer(HEADER_BYTES + byteLength)
    this.#words = new Int32Array(this.memory, 0, 4)
    this.#bytes = plainBytes(this.memory, HEADER_BYTES)
  }

  /** Frames lost because the ring was full. */
  get droppedCount(): number {
    return Atomics.load(this.#words, DROPPED)
  }

  /** Appends bytes `[start, end)` of `bytes`; false when they were dropped. Writer only. */
  push(frame: Omit<CaptureFrame, 'payload'>, bytes: Buffer, start: number, end: number): boolean {
    const head = Atomics.load(this.#words, HEAD)
    const used = (head - Atomics.load(this.#words, TAIL) + this.#bytes.length) % this.#bytes.length
    if (used + FRAME_BYTES + end - start >= this.#bytes.length) {
      Atomics.add(this.#words, DROPPED, 1)
      return false
    }
    this.#frame.writeUInt32LE(end - start, 0)
    this.#frame.writeUInt32LE(KINDS.indexOf(frame.kind), 4)
    this.#frame.writeUInt32LE(frame.connection, 8)
    this.#frame.writeDoubleLE(frame.atMs, 16)
    this.#frame.writeDoubleLE(frame.offset, 24)
    const next = this.#put(this.#put(head, this.#frame, 0, FRAME_BYTES), bytes, start, end)
    Atomics.store(this.#words, HEAD, next)
    return true
  }

  /** Takes all frames, oldest first. Reader only. */
  drain(onFrame: (frame: CaptureFrame) => void): void {
    const head = Atomics.load(this.#words, HEAD)
    let tail = Atomics.load(this.#words, TAIL)
    while (tail !== head) {
      const frame = this.#take(tail, FRAME_BYTES)
      const length = frame.readUInt32LE(0)
      const at = (tail + FRAME_BYTES) % this.#bytes.length
      onFrame({
        kind: KINDS[frame.readUInt32LE(4)] ?? 'end',
        connection: frame.readUInt32LE(8),
        atMs: frame.readDoubleLE(16),
        offset: frame.readDoubleLE(24),
        payload: this.#take(at, length),
      })
      tail = (at + length) % this.#bytes.length
    }
    Atomics.store(this.#words, TAIL, tail)
  }

  #put(at: number, bytes: Buffer, start: number, end: number): number {
    const first = Math.min(end - start, this.#bytes.length - at)
    bytes.copy(this.#bytes, at, start, start + first)
    bytes.copy(this.#bytes, 0, start + first, end)
    return (at + end - start) % this.#bytes.length
  }

  #take(at: number, length: number): Buffer {
    const first = this.#bytes.subarray(at, Math.min(at + length, this.#bytes.length))
    return Buffer.concat([first, this.#bytes.subarray(0, length - first.length)])
  }
}
