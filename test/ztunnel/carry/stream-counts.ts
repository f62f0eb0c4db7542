// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  createStreamCountMemory,
  MAX_COUNTED_INSTANCES,
  NO_SLOT,
  StreamCounts,
} from '../../../ztunnel/carry/stream-counts.ts'

const SLOTS = new Map([
  ['a', 0],
  ['b', MAX_COUNTED_INSTANCES - 1],
])

t.test('what one worker opens all of them see, until it is closed', async (t) => {
  const memory = createStreamCountMemory(2)
  const [one, two] = [new StreamCounts(memory, 0, 2), new StreamCounts(memory, 1, 2)]
  one.learn(SLOTS)
  two.learn(SLOTS)
  const slots = [one.opened('a'), one.opened('b'), two.opened('b')]
  t.same([one.open('a'), two.open('a'), one.open('b'), two.open('b')], [1, 1, 2, 2])
  t.ok(one.lastTurn('a') < one.lastTurn('b'))
  t.equal(one.lastTurn('b'), two.lastTurn('b'))
  one.closed(slots[1] ?? NO_SLOT)
  t.same([one.open('b'), two.open('b')], [1, 1])
  two.closed(slots[2] ?? NO_SLOT)
  one.closed(slots[0] ?? NO_SLOT)
  t.same([two.open('a'), two.open('b')], [0, 0])
})

t.test('who follows a worker that died begins with nothing; the others keep theirs', async (t) => {
  const memory = createStreamCountMemory(2)
  const [one, two] = [new StreamCounts(memory, 0, 2), new StreamCounts(memory, 1, 2)]
  one.learn(SLOTS)
  two.learn(SLOTS)
  one.opened('a')
  two.opened('a')
  const next = new StreamCounts(memory, 0, 2)
  next.learn(SLOTS)
  t.equal(next.open('a'), 1)
})

t.test('whoever has no slot is not counted, and a slot has one owner', async (t) => {
  const counts = new StreamCounts(createStreamCountMemory(1), 0, 1)
  t.equal(counts.opened('a'), NO_SLOT)
  counts.closed(NO_SLOT)
  t.same([counts.open('a'), counts.lastTurn('a')], [0, 0])
  counts.learn(SLOTS)
  const slot = counts.opened('a')
  counts.learn(new Map([['c', 0]]))
  t.equal(counts.opened('a'), NO_SLOT, 'its slot is another one’s by now')
  t.equal(counts.open('c'), 1, 'which is given with nothing in it, so this does not happen')
  counts.closed(slot)
  t.equal(counts.open('c'), 0)
})
