// SPDX-License-Identifier: Apache-2.0
// The streams of a session: open ones, the ids used so far, and the ids we reset a moment ago, whose late frames are
// no fault of the peer's. Spec: RFC 9113 §5.1, §5.1.1.
import { MAX_STREAM_ID } from './frames.ts'
import { IdTable } from './id-table.ts'
import type { Role } from './settings.ts'
import type { H2Stream } from './stream.ts'

/** Resets remembered: more than a peer's window of frames in flight usually concerns. */
const REMEMBERED_RESETS = 128

/** One per session. */
export class StreamTable {
  readonly #role: Role
  readonly #streams = new IdTable<H2Stream>()
  /** Frames of one stream come in rows. */
  #latest: H2Stream | null = null
  #resetIds: Int32Array | null = null
  #resetCount = 0
  #nextLocalId: number
  /** Largest id the peer has opened. */
  lastPeerId = 0
  /** When the last stream went. */
  idleSinceMs: number

  constructor(role: Role, nowMs: number) {
    this.#role = role
    this.#nextLocalId = role === 'client' ? 1 : 2
    this.idleSinceMs = nowMs
  }

  get size(): number {
    return this.#streams.size
  }

  get(id: number): H2Stream | null {
    if (this.#latest !== null && this.#latest.id === id) return this.#latest
    const stream = this.#streams.get(id)
    if (stream !== null) this.#latest = stream
    return stream
  }

  add(stream: H2Stream): void {
    this.#streams.add(stream)
  }

  remove(stream: H2Stream, nowMs: number): void {
    this.#streams.delete(stream.id)
    if (this.#latest === stream) this.#latest = null
    if (this.#streams.size === 0) this.idleSinceMs = nowMs
  }

  /** A snapshot in the order of ids, because closing streams changes the table. */
  all(): H2Stream[] {
    return this.#streams.all().sort((a, b) => a.id - b.id)
  }

  /** The next id of ours, or 0 when they are used up. */
  takeLocalId(): number {
    if (this.#nextLocalId > MAX_STREAM_ID) return 0
    const id = this.#nextLocalId
    this.#nextLocalId += 2
    return id
  }

  /** SPEC RFC9113 §5.1: nobody has opened the stream yet; most frames on it are a PROTOCOL_ERROR. */
  isIdle(id: number): boolean {
    const isOurs = id % 2 === (this.#role === 'client' ? 1 : 0)
    return isOurs ? id >= this.#nextLocalId : id > this.lastPeerId
  }

  noteReset(id: number): void {
    if (this.#resetIds === null) this.#resetIds = new Int32Array(REMEMBERED_RESETS)
    this.#resetIds[this.#resetCount++ % REMEMBERED_RESETS] = id
  }

  wasReset(id: number): boolean {
    return this.#resetIds?.includes(id) ?? false
  }

  /** The peer's own RST_STREAM for a stream we reset: the two crossed. True once per reset, so it cannot be abused. */
  forgetReset(id: number): boolean {
    const at = this.#resetIds?.indexOf(id) ?? -1
    if (at < 0 || this.#resetIds === null) return false
    this.#resetIds[at] = 0
    return true
  }
}
