// SPDX-License-Identifier: Apache-2.0
// Bytes of one stream that must wait: sent ones for the peer's window, received ones for a paused owner. A list
// of blocks with headroom, so that what leaves the queue is framed or delivered where it lies. Trailers wait behind them.

import type { HeaderList } from '../http/header-list.ts'
import { type Block, HEADROOM_BYTES } from '../reactor/byte-stream.ts'
import type { InboundBudget, SessionResources } from './session-resources.ts'

/** Bytes `[start, end)` of a block of the queue. */
export interface Segment {
  readonly block: Block
  start: number
  end: number
  next: Segment | null
}

/** First in, first out. Owns its blocks until they are consumed, shifted out or cleared. */
export class ByteQueue {
  readonly #resources: SessionResources
  readonly #isInbound: boolean
  readonly #budget: InboundBudget | null
  #head: Segment | null = null
  #tail: Segment | null = null
  #bytes = 0
  /** What follows the last byte. */
  #trailers: HeaderList | null = null
  #trailersBytes = 0

  /** Blocks of an inbound queue count against the worker's budget, and against `budget` if there is one. */
  constructor(resources: SessionResources, isInbound: boolean, budget: InboundBudget | null = null) {
    this.#resources = resources
    this.#isInbound = isInbound
    this.#budget = budget
  }

  get bytes(): number {
    return this.#bytes
  }
  get head(): Segment | null {
    return this.#head
  }

  /** Copies `[start, end)` to the end of the queue. */
  push(source: Buffer, start: number, end: number): void {
    this.#bytes += end - start
    let at = start
    while (at < end) {
      let tail = this.#tail
      if (tail === null || tail.end === tail.block.bytes.length) tail = this.#grow(end - at)
      const taken = Math.min(end - at, tail.block.bytes.length - tail.end)
      source.copy(tail.block.bytes, tail.end, at, at + taken)
      tail.end += taken
      at += taken
    }
  }

  /** Drops `bytes` from the head segment (at most its length). */
  consume(bytes: number): void {
    const head = this.#head
    if (head === null) return
    head.start += bytes
    this.#bytes -= bytes
    if (head.start >= head.end) this.release(this.#unlink(head))
  }

  /** Takes the head segment out; the caller gives it back with `release`. */
  shift(): Segment | null {
    const head = this.#head
    if (head === null) return null
    this.#bytes -= head.end - head.start
    return this.#unlink(head)
  }

  release(segment: Segment): void {
    this.#note(-segment.block.bytes.length)
    this.#resources.giveBlock(segment.block)
  }

  /** Trailers wait behind the bytes; they count as those do. */
  keepTrailers(trailers: HeaderList): void {
    this.#trailers = trailers
    this.#trailersBytes = textBytes(trailers)
    this.#note(this.#trailersBytes)
  }

  /** Null when none wait; afterwards none do. */
  takeTrailers(): HeaderList | null {
    const trailers = this.#trailers
    this.#trailers = null
    this.#note(-this.#trailersBytes)
    this.#trailersBytes = 0
    return trailers
  }

  clear(): void {
    this.takeTrailers()
    for (let head = this.shift(); head !== null; head = this.shift()) this.release(head)
  }

  #grow(bytes: number): Segment {
    const block = this.#resources.takeBlock(bytes)
    this.#note(block.bytes.length)
    const segment: Segment = { block, start: HEADROOM_BYTES, end: HEADROOM_BYTES, next: null }
    if (this.#tail === null) this.#head = segment
    else this.#tail.next = segment
    this.#tail = segment
    return segment
  }

  #note(bytes: number): void {
    if (!this.#isInbound) return
    this.#resources.inboundUsedBytes += bytes
    if (this.#budget !== null) this.#budget.usedBytes += bytes
  }

  #unlink(head: Segment): Segment {
    this.#head = head.next
    if (head.next === null) this.#tail = null
    head.next = null // else one that has grown old would keep all that came after it
    return head
  }
}

/** Memory of a header list, about. */
export function textBytes(headers: HeaderList): number {
  let bytes = 0
  for (const text of headers) bytes += text.length
  return bytes
}
