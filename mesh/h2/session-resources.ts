// SPDX-License-Identifier: Apache-2.0
// What all HTTP/2 sessions of one reactor share: the staging block in which the small frames of a turn gather,
// blocks for bytes that must wait, and the budget for received bytes nobody reads. One per worker, so memory
// does not grow with the number of idle tunnels.
import { type Block, HEADROOM_BYTES } from '../reactor/byte-stream.ts'
import { FreeBlocks } from '../reactor/free-blocks.ts'
import { HeldBytes } from '../reactor/held-bytes.ts'
import type { Scheduler, TurnTask } from '../reactor/scheduler.ts'
import { H2_LIMITS } from './limits.ts'

/** Sizes of waiting blocks: small for a trickle, large for bulk. Each has headroom in front. */
const BLOCK_CLASSES = [4_096, 32_768, 262_144] as const
/** Free blocks kept of each class, those that were needed lately: 4.3 MB at most, of them sixteen streams of bulk data. */
const KEPT_BLOCKS = [128, 16, 16] as const

/** Whoever has bytes in the staging block. */
export interface StagingHolder {
  /** Sends the staged bytes now; calls `takeStaged`. */
  flushStaging(): void
}

/** Received bytes that wait for the paused streams of one owner. */
export class InboundBudget {
  readonly limitBytes: number
  /** Counted by block, as those of the worker. */
  usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }
}

/** How a worker lends memory and time to its sessions. */
export interface SessionResourcesOptions {
  readonly scheduler: Scheduler
  /** Memory native code may see: `address` of the real reactor, 0 in tests. */
  readonly allocateBlock: (bytes: number) => Block
  readonly releaseBlock?: (block: Block) => void
  /** Received bytes that may wait for paused streams, all sessions together. */
  readonly inboundLimitBytes?: number
  /** What the worker's streams hold, all its resources together. */
  readonly held?: HeldBytes
}

/** Shared by all sessions of a reactor; never closed. */
export class SessionResources implements TurnTask {
  isAtTurnEnd = false
  readonly scheduler: Scheduler
  readonly staging: Block
  readonly inboundLimitBytes: number
  /** Memory of blocks that hold received bytes, counted by block and not by content. */
  inboundUsedBytes = 0
  readonly #allocateBlock: (bytes: number) => Block
  readonly #held: HeldBytes
  readonly #free: readonly FreeBlocks[]
  #holder: StagingHolder | null = null
  #stagedBytes = 0

  constructor(options: SessionResourcesOptions) {
    this.scheduler = options.scheduler
    this.inboundLimitBytes = options.inboundLimitBytes ?? H2_LIMITS.inboundPerWorker.value
    this.#allocateBlock = options.allocateBlock
    this.#held = options.held ?? new HeldBytes()
    const release = options.releaseBlock ?? (() => {})
    this.#free = KEPT_BLOCKS.map((count) => new FreeBlocks(count, release))
    this.staging = options.allocateBlock(H2_LIMITS.stagingBlock.value)
  }

  /** Makes room for `bytes` (at most the block) in `holder`'s name; returns where to write. Follow with commit. */
  reserve(holder: StagingHolder, bytes: number): number {
    if (this.#holder !== holder) {
      if (this.#holder !== null) this.#holder.flushStaging()
      this.#holder = holder
    }
    if (this.#stagedBytes + bytes > this.staging.bytes.length) {
      holder.flushStaging()
      this.#holder = holder
    }
    if (this.#stagedBytes === 0) this.scheduler.atTurnEnd(this)
    return this.#stagedBytes
  }

  /** Everything before `end` belongs to the holder's output. */
  commit(end: number): void {
    this.#stagedBytes = end
  }

  /** Gives the staged bytes to `holder`, who sends `[0, result)` at once, and frees the block. */
  takeStaged(holder: StagingHolder): number {
    if (this.#holder !== holder) return 0
    const bytes = this.#stagedBytes
    this.#stagedBytes = 0
    this.#holder = null
    return bytes
  }

  runAtTurnEnd(): void {
    this.#holder?.flushStaging()
  }

  /** A block for bytes that wait: at least HEADROOM_BYTES + min(bytes, the largest class). */
  takeBlock(bytes: number): Block {
    const blockClass = classOf(bytes)
    const block =
      this.#free[blockClass]?.take() ?? this.#allocateBlock(HEADROOM_BYTES + (BLOCK_CLASSES[blockClass] ?? 0))
    this.#held.bytes += block.bytes.length
    return block
  }

  giveBlock(block: Block): void {
    this.#held.bytes -= block.bytes.length
    this.#free[classOf(block.bytes.length - HEADROOM_BYTES)]?.give(block)
  }

  /** Lets go of the blocks that were not needed since the last call. */
  ebb(): void {
    for (const free of this.#free) free.ebb()
  }

  /** Lets go of all free blocks. */
  trim(): void {
    for (const free of this.#free) free.clear()
  }
}

function classOf(bytes: number): number {
  if (bytes <= BLOCK_CLASSES[0]) return 0
  return bytes <= BLOCK_CLASSES[1] ? 1 : 2
}
