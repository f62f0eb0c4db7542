// SPDX-License-Identifier: Apache-2.0
// What a node keeps of its own, in frames: each carries a MAC over itself and the MAC of the one before, so that nothing can
// be changed, cut out or put in another order; only the end can be missing. The first frame says whose it is. No I/O.
//
//   length u32 │ kind u8 │ time f64, epoch ms │ payload │ HMAC-SHA256, 32 bytes
import { createHmac } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Refusal, refuse } from '../errors/refusal.ts'

/** Raised when a reader of before could misread what is written now. */
const FORMAT = 1
export const HEAD_LENGTH = 13
export const MAC_LENGTH = 32
/** Longest stretch of a MAC in one turn of the thread. */
const SLICE_LENGTH = 1 << 18

/** What a frame is: the first one, content, or the word that the content before was still right at that time. */
export type FrameKind = 'header' | 'content' | 'confirmation'
// 0 is left out: a disk that lost power gives zeros.
const KINDS = [null, 'header', 'content', 'confirmation'] as const satisfies readonly (FrameKind | null)[]

/** Whose a file is. */
export interface SealOwner {
  readonly trustDomain: string
  readonly clusterId: string
  readonly nodeName: string
}

/** What a file is for. */
export type SealPurpose = 'model' | 'certificates' | 'pods' | 'peers' | 'events'

/** The beginning of a frame. */
export interface FrameHead {
  readonly payloadLength: number
  readonly kind: FrameKind
  readonly timeMs: number
}

/** The MACs of one file, frame by frame, for its writer and its reader alike. */
export class FrameChain {
  readonly #key: Buffer
  #last: Buffer

  /** `last` is the MAC of the last frame that is there. */
  constructor(key: Buffer, last: Buffer = Buffer.alloc(MAC_LENGTH)) {
    this.#key = key
    this.#last = last
  }

  get last(): Buffer {
    return this.#last
  }

  /** The next frame, in pieces. A long payload takes several turns. */
  async seal(kind: FrameKind, timeMs: number, payload: Uint8Array): Promise<readonly Uint8Array[]> {
    const head = Buffer.alloc(HEAD_LENGTH)
    head.writeUInt32BE(payload.length, 0)
    head.writeUInt8(KINDS.indexOf(kind), 4)
    head.writeDoubleBE(timeMs, 5)
    this.#last = await this.#mac(head, payload)
    return [head, payload, this.#last]
  }

  /** True when this is the next frame; then the chain goes on behind it. */
  async accept(head: Uint8Array, payload: Uint8Array, mac: Uint8Array): Promise<boolean> {
    const expected = await this.#mac(head, payload)
    if (!expected.equals(mac)) return false
    this.#last = expected
    return true
  }

  async #mac(head: Uint8Array, payload: Uint8Array): Promise<Buffer> {
    const hmac = createHmac('sha256', this.#key).update(this.#last).update(head)
    for (let start = 0; start < payload.length; start += SLICE_LENGTH) {
      if (start > 0) await nextTurn()
      hmac.update(payload.subarray(start, start + SLICE_LENGTH))
    }
    return hmac.digest()
  }
}

/** Reads the beginning of a frame; null when it is none. */
export function parseHead(bytes: Buffer): FrameHead | null {
  const kind = KINDS[bytes.readUInt8(4)] ?? null
  return kind === null ? null : { payloadLength: bytes.readUInt32BE(0), kind, timeMs: bytes.readDoubleBE(5) }
}

/** The payload of the first frame. */
export function sealHeader(purpose: SealPurpose, owner: SealOwner): Buffer {
  const { trustDomain, clusterId, nodeName } = owner
  return Buffer.from(JSON.stringify({ format: FORMAT, purpose, trustDomain, clusterId, nodeName }))
}

/** Compares the first frame's payload with what it should be; undefined when it is that. */
export function checkHeader(payload: Buffer, purpose: SealPurpose, owner: SealOwner): Refusal | undefined {
  if (sealHeader(purpose, owner).equals(payload)) return undefined
  return refuse('SNAPSHOT_INVALID', `it is of somebody else or another version: ${payload.subarray(0, 300)}`)
}
