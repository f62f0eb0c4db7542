// SPDX-License-Identifier: Apache-2.0
// Unused blocks of one size, kept for the next who needs one. How many are worth keeping is seen from what was needed: those
// that lay unused from one ebb to the next are let go of, so that what a peak took is not kept for as long as there is work.
import type { Block } from './byte-stream.ts'

/** Last in, first out: the blocks at the bottom are those that were not needed. */
export class FreeBlocks {
  readonly #limit: number
  readonly #release: (block: Block) => void
  readonly #blocks: Block[] = []
  /** So many were free at every moment since the last ebb. */
  #leastFree = 0

  /** Keeps at most `limit`. `release` frees a block for good: nobody may use it any more. */
  constructor(limit: number, release: (block: Block) => void) {
    this.#limit = limit
    this.#release = release
  }

  get count(): number {
    return this.#blocks.length
  }

  /** Undefined: there is none. */
  take(): Block | undefined {
    const block = this.#blocks.pop()
    if (this.#blocks.length < this.#leastFree) this.#leastFree = this.#blocks.length
    return block
  }

  give(block: Block): void {
    if (this.#blocks.length < this.#limit) this.#blocks.push(block)
    else this.#release(block)
  }

  /** Lets go of the blocks that nobody has needed since the last call. */
  ebb(): void {
    for (const block of this.#blocks.splice(0, this.#leastFree)) this.#release(block)
    this.#leastFree = this.#blocks.length
  }

  /** Lets go of all. */
  clear(): void {
    for (const block of this.#blocks) this.#release(block)
    this.#blocks.length = 0
    this.#leastFree = 0
  }
}
