// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ProcessDrain } from '../../ztunnel/process-drain.ts'
import { ManualClock } from '../support/manual-clock.ts'

function open(workerCount = 2) {
  const clock = new ManualClock()
  const drain = new ProcessDrain(clock, () => workerCount)
  const seen = { isOver: false }
  void drain.isOver.then(() => {
    seen.isOver = true
  })
  const isOver = async (): Promise<boolean> => {
    await null
    return seen.isOver
  }
  return { clock, drain, isOver }
}

t.test('it lasts until each worker is empty, however often one says so', async (t) => {
  const { clock, drain, isOver } = open()
  t.equal(drain.sinceMs, null)
  drain.begin()
  t.equal(drain.sinceMs, clock.nowMs)
  drain.limit(null)
  clock.advance(86_400_000 * 365)
  drain.onEmpty(0)
  drain.onEmpty(0)
  t.notOk(await isOver())
  drain.onEmpty(1)
  t.ok(await isOver())
})

t.test('or until its time is over, and the last word about that counts', async (t) => {
  const { clock, drain, isOver } = open()
  drain.begin()
  drain.limit(10)
  clock.advance(9_000)
  drain.limit(10)
  clock.advance(9_000)
  t.notOk(await isOver())
  drain.limit(null)
  clock.advance(9_000)
  t.notOk(await isOver())
  drain.limit(0)
  clock.advance(0)
  t.ok(await isOver())
})
