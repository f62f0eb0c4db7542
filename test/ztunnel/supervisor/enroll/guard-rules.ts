// SPDX-License-Identifier: Apache-2.0
// Which pods get a guard, and what is read of its counters; what the rules do: test/netns/strict-guard.ts.
import t from 'tap'
import { ALL_PORTS, NO_PORTS, otherPorts, portsOf } from '../../../../mesh/net/port-set.ts'
import type { InstalledRule } from '../../../../mesh/reactor/netlink/nf-tables.ts'
import {
  choosePods,
  type GuardedPod,
  guardTable,
  MAX_GUARD_PORTS,
  MAX_GUARD_RULES,
  refusedCounts,
} from '../../../../ztunnel/supervisor/enroll/guard-rules.ts'

const pod = (uid: string, closed = ALL_PORTS, ips = ['10.0.0.1', 'fd00::1']): GuardedPod => ({
  ...{ uid, ips, closed },
})
const range = (length: number): number[] => Array.from({ length }, (_, index) => index + 1)
const uids = (pods: readonly GuardedPod[]): string[] => pods.map(({ uid }) => uid)

t.test('pods of which nothing is closed, or without address, need no guard', async (t) => {
  const pods = [
    pod('open', NO_PORTS),
    pod('nowhere', ALL_PORTS, []),
    pod('strict'),
    pod('one', portsOf([80])),
  ]
  const { guarded, unguarded } = choosePods(pods)
  t.same(uids(guarded), ['strict', 'one'])
  t.same(unguarded, [])
})

t.test('a pod with too many ports has none, at the limit it has', async (t) => {
  const at = otherPorts(portsOf(range(MAX_GUARD_PORTS)))
  const beyond = otherPorts(portsOf(range(MAX_GUARD_PORTS + 1)))
  const { guarded, unguarded } = choosePods([pod('beyond', beyond), pod('at', at)])
  t.same([uids(guarded), uids(unguarded)], [['at'], ['beyond']])
})

t.test('no more rules than fit, and what fits behind a pod that does not is guarded', async (t) => {
  const many = range(MAX_GUARD_RULES / 2 - 1).map((index) => pod(`u${index}`))
  const big = pod('big', otherPorts(portsOf([80])))
  const { guarded, unguarded } = choosePods([...many, big, pod('last'), pod('late')])
  t.equal(guarded.length, many.length + 1)
  t.equal(guarded.at(-1)?.uid, 'last')
  t.same(uids(unguarded), ['big', 'late'])
})

t.test('counters are told by the address of their rule', async (t) => {
  const pods = [pod('a', portsOf([80, 81])), pod('b', otherPorts(portsOf([9])), ['10.0.0.2'])]
  const rules = new Map(
    guardTable(pods).chains.map(({ name, rules }) => [
      name,
      rules.map((expressions, index): InstalledRule => {
        const counters = expressions.some(({ kind }) => kind === 'counter')
          ? { packets: 10 ** index, bytes: 0 }
          : null
        return { handle: index, expressions, counters }
      }),
    ]),
  )
  t.same(
    [...refusedCounts(rules)],
    [
      ['10.0.0.1', 110],
      ['10.0.0.2', 10_000],
      ['fd00::1', 110],
    ],
  )
  t.same([...refusedCounts(new Map())], [])
})
