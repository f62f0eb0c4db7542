// SPDX-License-Identifier: Apache-2.0
// Fixed blocks of native memory, reused, and the queue of unsent bytes built of them. Owned by one worker.
import { type Block, HEADROOM_BYTES } from './byte-stream.ts'
import { allocateBlock, freeBlock } from './ffi/native.ts'
import { FreeBlocks } from './free-blocks.ts'

/** Payload of one pooled block: holds a whole 64 KiB frame with its header. */
export const POOL_BLOCK_BYTES = 65_536 + HEADROOM_BYTES

/** Hands out blocks and takes them back. Keeps at most `idleLimit` unused ones. */
export class BufferPool {
  readonly #free: FreeBlocks
  /** Blocks handed out and not given back; zero when no connection holds bytes. */
  takenBlocks = 0

  constructor(idleLimit = 64) {
    this.#free = new FreeBlocks(idleLimit, freeBlock)
  }

  take(): Block {
    this.takenBlocks++
    return this.#free.take() ?? allocateBlock(POOL_BLOCK_BYTES)
  }

  give(block: Block): void {
    this.takenBlocks--
    this.#free.give(block)
  }

  /** Lets go of the blocks that were not needed since the last call. */
  ebb(): void {
    this.#free.ebb()
  }

  /** Lets go of all unused blocks. */
  trim(): void {
    this.#free.clear()
  }
}

/** Bytes accepted by a stream but not yet sent, in order, copied into pooled blocks. */
export class PendingBytes {
  readonly #pool: BufferPool
  readonly #blocks: Block[] = []
  #headOffset = 0
  #tailOffset = 0
  byteLength = 0

  constructor(pool: BufferPool) {
    this.#pool = pool
  }

  append(from: Block, start: number, end: number): void {
    this.byteLength += end - start
    while (start < end) {
      let tail = this.#blocks[this.#blocks.length - 1]
      if (tail === undefined || this.#tailOffset === POOL_BLOCK_BYTES) {
        tail = this.#pool.take()
        this.#blocks.push(tail)
        this.#tailOffset = HEADROOM_BYTES
        if (this.#blocks.length === 1) this.#headOffset = HEADROOM_BYTES
      }
      const count = Math.min(end - start, POOL_BLOCK_BYTES - this.#tailOffset)
      from.bytes.copy(tail.bytes, this.#tailOffset, start, start + count)
      this.#tailOffset += count
      start += count
    }
  }

  /** The block that holds the first unsent byte. Only when byteLength > 0. */
  get headBlock(): Block {
    const head = this.#blocks[0]
    if (head === undefined) throw new RangeError('no pending bytes')
    return head
  }
  get headStart(): number {
    return this.#headOffset
  }
  get headEnd(): number {
    return this.#blocks.length === 1 ? this.#tailOffset : POOL_BLOCK_BYTES
  }

  /** Drops the first `count` bytes; they must lie in the head block. */
  consume(count: number): void {
    this.byteLength -= count
    this.#headOffset += count
    if (this.#headOffset < this.headEnd) return
    this.#pool.give(this.headBlock)
    this.#blocks.shift()
    this.#headOffset = HEADROOM_BYTES
  }

  clear(): void {
    for (const block of this.#blocks) this.#pool.give(block)
    this.#blocks.length = 0
    this.byteLength = 0
  }
}
