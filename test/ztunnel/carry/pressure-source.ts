// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { SessionResources } from '../../../mesh/h2/session-resources.ts'
import type { Reactor } from '../../../mesh/reactor/reactor.ts'
import { type PressedWorker, pressureSource } from '../../../ztunnel/carry/pressure-source.ts'

const POD = {
  number: 7,
  budget: { usedBytes: 500 },
  account: { openCount: 3 },
  tunnels: { idle: () => [{ idleSinceMs: 400, end() {} }] },
  connections: new Set([{ sheddable: null }, { sheddable: { kind: 'half-closed', stalledMs: 5, end() {} } }]),
}

t.test('a worker offers what nobody uses, and says what each pod holds', async (t) => {
  const source = pressureSource({
    reactor: { nowMs: 1000 } as Reactor, // as: only its time is asked
    resources: { inboundUsedBytes: 25, inboundLimitBytes: 100 } as SessionResources, // as: only its books are
    pods: () => [POD] as unknown as ReturnType<PressedWorker['pods']>, // as: all that is asked of a pod
    onShed() {},
  })
  t.same(
    source.candidates().map(({ kind, stalledMs }) => [kind, stalledMs]),
    [
      ['idle-tunnel', 600],
      ['half-closed', 5],
    ],
  )
  t.equal(source.bufferedShare(), 0.25)
  t.equal(source.nowMs(), 1000)
  t.same(source.holdings('descriptors'), [{ pod: 7, held: 3 }])
  t.same(source.holdings('bytes'), [{ pod: 7, held: 500 }])
})
