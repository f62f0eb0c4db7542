// SPDX-License-Identifier: Apache-2.0
// The byte-stream contract applied to the in-memory pair.
import t from 'tap'
import { createMemoryPair, ManualScheduler, memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { type PairFactory, testByteStreamContract } from '../support/byte-stream-contract.ts'

function pairs(chunkBytes: number): PairFactory {
  return () => {
    const scheduler = new ManualScheduler()
    const [near, far] = createMemoryPair(scheduler, { chunkBytes })
    const settle = () => scheduler.runUntilIdle()
    return { near, far, settle, allocateBlock: memoryBlock, close: settle }
  }
}

testByteStreamContract(t, 'memory pair', pairs(262_144))
testByteStreamContract(t, 'memory pair in pieces', pairs(3))
