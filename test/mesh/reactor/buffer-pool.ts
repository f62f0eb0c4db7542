// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { BufferPool, PendingBytes, POOL_BLOCK_BYTES } from '../../../mesh/reactor/buffer-pool.ts'
import { HEADROOM_BYTES } from '../../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'

t.test('blocks are reused, as many as may lie idle, and every one taken is counted', async (t) => {
  const pool = new BufferPool(1)
  const [one, two] = [pool.take(), pool.take()]
  t.equal(one.bytes.length, POOL_BLOCK_BYTES)
  t.equal(pool.takenBlocks, 2)
  pool.give(one)
  pool.give(two)
  t.equal(pool.takenBlocks, 0)
  t.equal(pool.take(), one)
  t.not(pool.take(), two, 'the second one was over the limit')
})

t.test('pending bytes come out in order, in whatever pieces they went in and out', async (t) => {
  const pool = new BufferPool()
  const pending = new PendingBytes(pool)
  const source = allocateBlock(200_000)
  for (let i = 0; i < source.bytes.length; i++) source.bytes[i] = (i * 31) & 255
  const pieces = [1, 65_535, 65_536, 65_537, 3, 0, 3388]
  let written = 0
  let read = 0
  let isWrong = false
  const take = (most: number): void => {
    for (let left = most; left > 0 && pending.byteLength > 0; ) {
      const count = Math.min(left, pending.headEnd - pending.headStart)
      const view = pending.headBlock.bytes.subarray(pending.headStart, pending.headStart + count)
      if (view.compare(source.bytes, read, read + count) !== 0) isWrong = true
      pending.consume(count)
      read += count
      left -= count
    }
  }
  for (const piece of pieces) {
    pending.append(source, written, written + piece)
    written += piece
    take(piece >> 1)
    t.equal(pending.byteLength, written - read)
  }
  take(Number.POSITIVE_INFINITY)
  t.equal(read, 200_000)
  t.notOk(isWrong)
  t.equal(pool.takenBlocks, 0, 'an empty queue holds no block')
})

t.test('a cleared queue gives its blocks back and can be used again', async (t) => {
  const pool = new BufferPool()
  const pending = new PendingBytes(pool)
  const source = allocateBlock(100_000)
  pending.append(source, 0, 100_000)
  pending.consume(10)
  pending.clear()
  t.equal(pending.byteLength, 0)
  t.equal(pool.takenBlocks, 0)
  t.throws(() => pending.headBlock, RangeError)
  source.bytes.write('again', 0)
  pending.append(source, 0, 5)
  t.equal(pending.headStart, HEADROOM_BYTES, 'room for a frame header')
  t.equal(pending.headBlock.bytes.toString('latin1', pending.headStart, pending.headEnd), 'again')
})

t.test('a trimmed pool has forgotten its unused blocks and goes on', async (t) => {
  const pool = new BufferPool()
  const block = pool.take()
  pool.give(block)
  pool.trim()
  t.not(pool.take(), block)
  t.equal(pool.takenBlocks, 1)
})
