// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { REFILL_MS, RESERVE, TrimReserve } from '../../../mesh/reactor/trim-reserve.ts'

const HEAP = 10_000_000
const BURST_MS = 150

t.test('a heap that grew is always worth it, whatever the reserve has', async (t) => {
  const reserve = new TrimReserve(0)
  let heapBytes = HEAP
  for (let round = 0; round < 3 * RESERVE; round++) {
    t.ok(reserve.takeIfWorth(heapBytes, 0, 0))
    reserve.trimmed(heapBytes, 0)
    t.notOk(reserve.takeIfWorth(heapBytes * 1.1, 0, 0), 'a tenth is not worth it')
    heapBytes = heapBytes * 1.2 + 2_097_152
  }
})

t.test('bursts are worth it as long as there is a reserve, which fills up again', async (t) => {
  const reserve = new TrimReserve(0)
  reserve.trimmed(HEAP, 0)
  let busyMs = 0
  const burst = (nowMs: number): boolean => {
    busyMs += BURST_MS
    const isWorth = reserve.takeIfWorth(HEAP, busyMs, nowMs)
    if (isWorth) reserve.trimmed(HEAP, busyMs)
    return isWorth
  }
  const worth = (count: number, nowMs: number): number =>
    Array.from({ length: count }, () => burst(nowMs)).filter(Boolean).length
  t.equal(worth(2 * RESERVE, 10_000), RESERVE, 'a start takes what there is and no more')
  t.notOk(burst(REFILL_MS - 1), 'not before one came back')
  t.ok(burst(10_000 + REFILL_MS), 'the next one is not late by the whole reserve')
  t.notOk(burst(10_000 + REFILL_MS))
  t.equal(worth(2 * RESERVE, 10_000 + 20 * REFILL_MS), RESERVE, 'never more than the reserve holds')
})

t.test('without work nothing is taken', async (t) => {
  const reserve = new TrimReserve(0)
  reserve.trimmed(HEAP, 1000)
  t.notOk(reserve.takeIfWorth(HEAP, 1049, 0))
  t.ok(reserve.takeIfWorth(HEAP, 1050, 0))
})
