// SPDX-License-Identifier: Apache-2.0
// A stream of which the beginning was read already: it is delivered again, before everything that follows.
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  type CloseReason,
  HEADROOM_BYTES,
} from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler } from '../../mesh/reactor/scheduler.ts'

/** Takes over the handler of `inner`, which is paused. */
export class PrefixedStream implements ByteStream, ByteStreamHandler {
  readonly #inner: ByteStream
  readonly #scheduler: Scheduler
  readonly #length: number
  /** Null once it was delivered. */
  #block: Block | null = null
  #hasEnded: boolean
  #handler: ByteStreamHandler | null = null
  #isPaused = false
  #isOwed = false
  #closeReason: CloseReason | null = null

  /** `hasEnded`: the end of `inner` was told already. `allocate` gives native memory. */
  constructor(
    inner: ByteStream,
    head: Buffer,
    hasEnded: boolean,
    scheduler: Scheduler,
    allocate: (bytes: number) => Block,
  ) {
    this.#inner = inner
    this.#scheduler = scheduler
    this.#length = head.length
    this.#hasEnded = hasEnded
    if (head.length > 0) {
      this.#block = allocate(HEADROOM_BYTES + head.length)
      head.copy(this.#block.bytes, HEADROOM_BYTES)
    }
    inner.setHandler(this)
  }

  get bufferedBytes(): number {
    return this.#inner.bufferedBytes
  }

  setHandler(handler: ByteStreamHandler): void {
    this.#handler = handler
    this.#deliverLater()
  }

  write(block: Block, start: number, end: number): boolean {
    return this.#inner.write(block, start, end)
  }

  pause(): void {
    this.#isPaused = true
    this.#inner.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.#deliverLater()
  }

  end(): void {
    this.#inner.end()
  }

  destroy(reason: CloseReason): void {
    this.#block = null
    this.#inner.destroy(reason)
  }

  onData(block: Block, start: number, end: number): void {
    this.#handler?.onData(block, start, end)
  }
  onEnd(): void {
    this.#hasEnded = true
    this.#deliverLater()
  }
  onDrain(): void {
    this.#handler?.onDrain()
  }
  onClose(reason: CloseReason): void {
    this.#closeReason = reason
    if (reason.code !== 'OK') this.#block = null
    this.#deliverLater()
  }

  /** In order, and never inside a call of the owner's. */
  #deliverLater(): void {
    if (this.#isOwed) return
    this.#isOwed = true
    this.#scheduler.startTimer(0, () => this.#deliver())
  }

  #deliver(): void {
    this.#isOwed = false
    const handler = this.#handler
    if (handler === null) return
    const block = this.#block
    if (block !== null && !this.#isPaused) {
      this.#block = null
      handler.onData(block, HEADROOM_BYTES, HEADROOM_BYTES + this.#length)
    }
    if (this.#block !== null) return // paused before all was delivered
    if (this.#hasEnded) {
      this.#hasEnded = false
      handler.onEnd()
    }
    if (this.#closeReason !== null) {
      const reason = this.#closeReason
      this.#handler = null
      handler.onClose(reason)
    } else if (!this.#isPaused) this.#inner.resume()
  }
}
