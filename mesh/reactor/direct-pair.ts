// SPDX-License-Identifier: Apache-2.0
// Two joined byte streams inside one reactor, without the kernel: what one writes the other hears at the end of the turn.
// For two connections of one worker that are each other's far side.
import { type BufferPool, PendingBytes } from './buffer-pool.ts'
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
} from './byte-stream.ts'
import type { Scheduler, TurnTask } from './scheduler.ts'

/** Bytes not delivered yet; above it write() says stop. As of a socket's own queue. */
const HIGH_WATER_BYTES = 65_536

/** Two connected streams. `pool`: of the reactor. */
export function createDirectPair(
  scheduler: Scheduler,
  pool: BufferPool,
): readonly [DirectStream, DirectStream] {
  const near = new DirectStream(scheduler, pool)
  const far = new DirectStream(scheduler, pool)
  near.join(far)
  far.join(near)
  return [near, far]
}

/** One end. Made by createDirectPair. */
export class DirectStream implements ByteStream, TurnTask {
  isAtTurnEnd = false
  readonly #scheduler: Scheduler
  readonly #pool: BufferPool
  #peer: DirectStream = this
  #handler: ByteStreamHandler | null = null
  /** What the peer wrote and our handler has not heard. */
  #inbound: PendingBytes | null = null
  #isPaused = false
  #isEndSent = false
  #isEndReceived = false
  #isEndTold = false
  #owesDrain = false
  #closeReason: CloseReason | null = null
  #isCloseTold = false

  constructor(scheduler: Scheduler, pool: BufferPool) {
    this.#scheduler = scheduler
    this.#pool = pool
  }

  /** Once, by createDirectPair. */
  join(peer: DirectStream): void {
    this.#peer = peer
  }

  setHandler(handler: ByteStreamHandler): void {
    this.#handler = handler
    this.#scheduler.atTurnEnd(this)
  }

  get bufferedBytes(): number {
    return this.#peer.#inbound?.byteLength ?? 0
  }

  write(block: Block, start: number, end: number): boolean {
    const peer = this.#peer
    if (this.#isEndSent || this.#closeReason !== null || peer.#closeReason !== null) return true
    peer.#inbound ??= new PendingBytes(this.#pool)
    peer.#inbound.append(block, start, end)
    this.#scheduler.atTurnEnd(peer)
    if (peer.#inbound.byteLength < HIGH_WATER_BYTES) return true
    this.#owesDrain = true
    return false
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#scheduler.atTurnEnd(this)
  }

  end(): void {
    if (this.#isEndSent || this.#closeReason !== null) return
    this.#isEndSent = true
    this.#peer.#isEndReceived = true
    this.#scheduler.atTurnEnd(this.#peer)
    this.#scheduler.atTurnEnd(this)
  }

  /** The other end hears what an HTTP/2 stream's other end would: that it was reset. */
  destroy(reason: CloseReason): void {
    if (this.#closeReason !== null) return
    this.#close(reason)
    if (this.#peer.#closeReason !== null) return
    this.#peer.#close({ code: 'STREAM_RESET', detail: 'cancel' })
  }

  runAtTurnEnd(): void {
    if (this.#handler === null) return
    this.#deliver()
    if (this.#isEndReceived && !this.#isEndTold && this.#canDeliver && this.#inbound === null) {
      this.#isEndTold = true
      this.#handler.onEnd()
    }
    if (this.#isEndTold && this.#isEndSent && this.#closeReason === null) this.#close(CLOSED_OK)
    if (this.#closeReason === null || this.#isCloseTold) return
    this.#isCloseTold = true
    this.#handler.onClose(this.#closeReason)
  }

  get #canDeliver(): boolean {
    return !this.#isPaused && this.#closeReason === null
  }

  #deliver(): void {
    const inbound = this.#inbound
    if (inbound === null) return
    while (inbound.byteLength > 0 && this.#canDeliver) {
      const { headBlock, headStart, headEnd } = inbound
      this.#handler?.onData(headBlock, headStart, headEnd)
      if (inbound.byteLength > 0) inbound.consume(headEnd - headStart)
    }
    if (inbound.byteLength > 0) return
    this.#inbound = null
    this.#peer.#onHeard()
  }

  /** The other end has room again. */
  #onHeard(): void {
    if (!this.#owesDrain || this.#closeReason !== null) return
    this.#owesDrain = false
    this.#handler?.onDrain()
  }

  #close(reason: CloseReason): void {
    this.#closeReason = reason
    if (reason.code !== 'OK') {
      this.#inbound?.clear()
      this.#inbound = null
    }
    this.#scheduler.atTurnEnd(this)
  }
}
