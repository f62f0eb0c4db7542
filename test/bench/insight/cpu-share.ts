// SPDX-License-Identifier: Apache-2.0
// What is called by insight is insight; waiting is no work.
import t from 'tap'
import { type CpuProfile, workTimes } from '../../../bench/insight/cpu-share.ts'

type Frame = readonly [functionName: string, url: string, parent: number, samples: number]

/** Nodes are numbered from 1; each sample stands for a millisecond. */
function profile(frames: readonly Frame[]): CpuProfile {
  const nodes = frames.map(([functionName, url], index) => ({
    id: index + 1,
    callFrame: { functionName, url },
    children: frames.flatMap(([, , parent], child) => (parent === index + 1 ? [child + 1] : [])),
  }))
  const samples = frames.flatMap(([, , , count], index) => Array<number>(count).fill(index + 1))
  return { nodes, samples, timeDeltas: samples.map(() => 1000) }
}

t.test('time goes to who called', (t) => {
  const found = workTimes(
    profile([
      ['(root)', '', 0, 0],
      ['runTurn', 'file:///s/mesh/reactor/reactor.ts', 1, 50],
      ['onClose', 'file:///s/ztunnel/carry/outbound-connection.ts', 2, 4],
      ['push', 'file:///s/ztunnel/events/event-rings.ts', 3, 1],
      ['write', '', 4, 2],
      ['formatConnectionRecord', 'file:///s/mesh/telemetry/connection-record.ts', 3, 5],
      ['slotOf', 'file:///s/mesh/telemetry/counters.ts', 6, 1],
      ['(idle)', '', 1, 100],
    ]),
  )
  t.same(found, { busyMs: 13, recordsMs: 6, otherInsightMs: 3 })
  t.end()
})

t.test('a thread that only waits has no work', (t) => {
  t.same(workTimes(profile([['(idle)', '', 0, 3]])), { busyMs: 0, recordsMs: 0, otherInsightMs: 0 })
  t.end()
})
