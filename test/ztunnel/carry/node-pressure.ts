// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { decideShedding, NodePressure, type Sheddable } from '../../../ztunnel/carry/node-pressure.ts'

const ended: string[] = []
function candidate(kind: Sheddable['kind'], stalledMs: number): Sheddable {
  return { kind, stalledMs, end: () => void ended.push(`${kind} ${stalledMs}`) }
}
const held = (...counts: readonly number[]) => counts.map((count, pod) => ({ pod, held: count }))

t.test(
  'what gives way: idle tunnels, then stalled half-closed ones, then whoever has most, then nobody',
  async (t) => {
    const idle = [candidate('idle-tunnel', 0), candidate('idle-tunnel', 9)]
    const stale = [candidate('half-closed', 60_000), candidate('half-closed', 90_000)]
    const fresh = candidate('half-closed', 59_999)
    const [zero, nine] = idle
    const [sixty, ninety] = stale
    const table: readonly (readonly [
      readonly Sheddable[],
      readonly number[],
      readonly unknown[],
      number | null,
    ])[] = [
      [[fresh, ...stale, ...idle], [1, 5], [nine, zero], null],
      [[fresh, ...stale], [1, 5], [ninety, sixty], null],
      [[fresh], [1, 5, 2], [], 1],
      [[], [7, 5, 7], [], 0],
      [[], [0, 0], [], null],
      [[], [], [], null],
    ]
    for (const [candidates, counts, end, refuse] of table)
      t.strictSame(decideShedding(candidates, held(...counts)), { end, refuse })
  },
)

t.test('one look ends a bounded number, those of the longest rest first', async (t) => {
  const candidates = Array.from({ length: 1000 }, (_, index) => candidate('idle-tunnel', index))
  const { end } = decideShedding(candidates, [])
  t.equal(end.length, 64)
  t.equal(end[0]?.stalledMs, 999)
})

const LIMIT = 100

/** A node of 100 descriptors with what it could give up. */
function pressed(candidates: Sheddable[]) {
  const node = {
    nowMs: 0,
    bufferedShare: 0,
    limit: LIMIT as number | null,
    asked: [] as string[],
    shed: [] as unknown[],
  }
  const pressure = new NodePressure<number>({
    nowMs: () => node.nowMs,
    bufferedShare: () => node.bufferedShare,
    candidates: () => candidates.splice(0),
    holdings: (what) => {
      node.asked.push(what)
      return what === 'bytes' ? held(1, 9) : held(9, 1)
    },
    onShed: (kind, count) => void node.shed.push([kind, count]),
    descriptorLimit: () => node.limit,
  })
  return { node, pressure }
}

t.test(
  'a high descriptor number is pressure; it lasts a little, and then nobody is refused any more',
  async (t) => {
    const { node, pressure } = pressed([candidate('idle-tunnel', 1)])
    pressure.onAccepted(89)
    t.same(node.asked, [], 'nobody looks while there is room')
    pressure.onAccepted(90)
    t.same(node.shed, [['idle-tunnel', 1]])
    t.equal(pressure.refuses(0), false, 'first what nobody uses')
    pressure.onAccepted(91)
    t.equal(node.asked.length, 1, 'not at every connection')
    node.nowMs = 250
    pressure.onAccepted(20)
    t.equal(pressure.refuses(0), true)
    t.equal(pressure.refuses(1), false)
    node.nowMs = 2000
    pressure.onAccepted(20)
    t.equal(pressure.refuses(0), false)
  },
)

t.test('the limit may be raised while the process runs', async (t) => {
  const { node, pressure } = pressed([])
  node.limit = 1000
  pressure.onAccepted(500)
  t.same(node.asked, [])
  pressure.onAccepted(900)
  t.same(node.asked, ['descriptors'])
})

t.test('a limit that cannot be read, because none is left, is the one that was known', async (t) => {
  const { node, pressure } = pressed([])
  node.limit = null
  pressure.onAccepted(89)
  t.same(node.asked, [])
  pressure.onAccepted(99)
  t.same(node.asked, ['descriptors'])
  t.equal(pressure.refuses(0), true)
})

t.test(
  'with little memory left the pod that has most of it is refused, not the one with most connections',
  async (t) => {
    const { node, pressure } = pressed([])
    node.bufferedShare = 0.9
    pressure.onAccepted(5)
    t.same(node.asked, ['bytes'])
    t.equal(pressure.refuses(1), true)
    t.equal(pressure.refuses(0), false)
  },
)
