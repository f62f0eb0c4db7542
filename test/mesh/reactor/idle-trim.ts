// SPDX-License-Identifier: Apache-2.0
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { IdleTrim } from '../../../mesh/reactor/idle-trim.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'

// What --expose-gc does, for this thread.
setFlagsFromString('--expose-gc')
globalThis.gc = runInNewContext('gc') as typeof globalThis.gc // as: V8's own function

/** Runs the loop until `holds`, in which nothing else happens. */
function runUntil(reactor: Reactor, deadlineMs: number, holds: () => boolean): boolean {
  for (const endMs = performance.now() + deadlineMs; performance.now() < endMs; ) {
    reactor.runTurn(100)
    if (holds()) return true
  }
  return holds()
}

t.test('an idle loop gives its garbage back once, and not again while nothing grows', async (t) => {
  const reactor = new Reactor()
  t.teardown(() => reactor.destroy())
  const trim = new IdleTrim(reactor)
  trim.start()
  let garbage: number[][] = []
  for (let index = 0; index < 2000; index++) garbage.push(new Array<number>(1000).fill(index))
  const grownBytes = getHeapStatistics().total_heap_size
  garbage = []
  t.ok(runUntil(reactor, 10_000, () => trim.trimCount === 1))
  t.ok(reactor.longestTrimMs > 0)
  t.ok(reactor.longestTurnMs < reactor.longestTrimMs, 'it is told apart from turns')
  t.ok(getHeapStatistics().total_heap_size < grownBytes - 8_000_000)
  t.notOk(runUntil(reactor, 5000, () => trim.trimCount > 1))
})

t.test('a busy loop is told of and gives back what it did not need; nothing is collected', async (t) => {
  const reactor = new Reactor()
  t.teardown(() => reactor.destroy())
  let busyCount = 0
  let ebbCount = 0
  const trim = new IdleTrim(reactor, {
    onBusy: () => {
      busyCount++
    },
  })
  trim.start()
  reactor.atEbb(() => {
    ebbCount++
  })
  const block = reactor.pool.take()
  reactor.pool.give(block)
  const work = (): void => {
    const endMs = performance.now() + 5
    while (performance.now() < endMs);
    reactor.startTimer(20, work)
  }
  work()
  t.notOk(runUntil(reactor, 5000, () => trim.trimCount > 0))
  t.ok(busyCount > 0 && ebbCount > 0, `${busyCount}, ${ebbCount}`)
  t.not(reactor.pool.take(), block)
})

t.test('work after a start is worth a trim, although the start had its own', async (t) => {
  const reactor = new Reactor()
  t.teardown(() => reactor.destroy())
  const trim = new IdleTrim(reactor)
  trim.start()
  const burst = (): void => {
    const endMs = performance.now() + 150
    while (performance.now() < endMs);
  }
  const trims = (count: number): boolean => runUntil(reactor, 10_000, () => trim.trimCount === count)
  t.ok(trims(1), 'the first look finds a heap larger than none')
  reactor.startTimer(0, burst)
  t.ok(trims(2), 'the start')
  reactor.startTimer(0, burst)
  t.ok(trims(3), 'what came after it')
  t.notOk(
    runUntil(reactor, 5000, () => trim.trimCount > 3),
    'idleness alone is worth none',
  )
})
