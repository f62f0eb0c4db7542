// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createMemoryPair, ManualScheduler, memoryBlock } from '../../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'

t.test('timers fire in the order of their time, and only when the clock reaches it', async (t) => {
  const scheduler = new ManualScheduler()
  const fired: string[] = []
  scheduler.startTimer(20, () => fired.push(`b@${scheduler.nowMs}`))
  scheduler.startTimer(10, () => {
    fired.push(`a@${scheduler.nowMs}`)
    scheduler.startTimer(5, () => fired.push(`c@${scheduler.nowMs}`))
  })
  scheduler.startTimer(15, () => fired.push('never')).cancel()
  scheduler.advance(9)
  t.same(fired, [])
  scheduler.advance(11)
  t.same(fired, ['a@10', 'c@15', 'b@20'])
  t.equal(scheduler.timerCount, 0)
})

t.test('turn-end tasks run once a turn, those registered by tasks in the same turn', async (t) => {
  const scheduler = new ManualScheduler()
  const ran: string[] = []
  const inner = { isAtTurnEnd: false, runAtTurnEnd: () => void ran.push('inner') }
  const outer = {
    isAtTurnEnd: false,
    runAtTurnEnd: () => {
      ran.push('outer')
      scheduler.atTurnEnd(inner)
    },
  }
  scheduler.atTurnEnd(outer)
  scheduler.atTurnEnd(outer)
  scheduler.runTurn()
  t.same(ran, ['outer', 'inner'])
  scheduler.runTurn()
  t.equal(ran.length, 2)
})

t.test('a chunk is worthless after onData returned', async (t) => {
  const scheduler = new ManualScheduler()
  const [near, far] = createMemoryPair(scheduler)
  let kept: Buffer = Buffer.alloc(0)
  const handler = new RecordingHandler()
  handler.onData = (block, start, end) => {
    t.ok(start >= 16, 'there is headroom')
    kept = block.bytes.subarray(start, end)
  }
  far.setHandler(handler)
  const block = memoryBlock(4)
  block.bytes.write('text')
  near.write(block, 0, 4)
  scheduler.runUntilIdle()
  t.equal(kept.toString('latin1'), '\xdd\xdd\xdd\xdd')
})

t.test('two ends that wait for room come to rest when one of them is destroyed', async (t) => {
  const scheduler = new ManualScheduler()
  const [near, far] = createMemoryPair(scheduler, { highWaterBytes: 10 })
  const record = new RecordingHandler()
  near.setHandler(record)
  far.setHandler(new RecordingHandler())
  near.pause()
  far.pause()
  near.write(memoryBlock(20), 0, 20)
  far.write(memoryBlock(20), 0, 20)
  scheduler.runUntilIdle()
  far.destroy({ code: 'PEER_RESET', detail: '' })
  scheduler.runUntilIdle()
  t.equal(record.reason?.code, 'PEER_RESET')
})
