// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { desiredStatus } from '../../../controller/status/desired-status.ts'
import type { StatusPatch } from '../../../controller/status/status-patch.ts'
import {
  FACT_INTERVAL_MS,
  MAX_PLANNED_STATUSES,
  MAX_REWRITE_DOUBLINGS,
  type PlannedStatus,
  StatusPlanner,
  WORDS_INTERVAL_MS,
} from '../../../controller/status/status-plan.ts'
import { policiesYaml } from '../../support/status-policies.ts'
import { StatusWorld } from '../../support/status-view.ts'
import { SETTINGS } from '../../support/translated.ts'

function openLab(count: number) {
  const world = new StatusWorld(policiesYaml(count))
  return { world, planner: new StatusPlanner(), patches: desiredStatus(world, SETTINGS) }
}

/** Says something else: other words, or another fact. */
function changed(patch: StatusPatch, change: object): StatusPatch {
  return { ...patch, conditions: patch.conditions.map((each) => ({ ...each, ...change })) }
}

const namesOf = (due: readonly PlannedStatus[]): string[] => due.map(({ patch }) => patch.object.name)
function only<T>(list: readonly T[]): T {
  const [first] = list
  if (first === undefined) throw new Error('empty')
  return first
}

t.test('what differs is due, what is as it should be is not', async (t) => {
  const { world, planner, patches } = openLab(3)
  t.same(namesOf(planner.plan(patches, world.objects, 0).due), ['p0', 'p1', 'p2'])
  world.writeAll(patches, 0)
  const { due, pending, waitMs } = planner.plan(patches, world.objects, 1)
  t.same([due.length, pending.size, waitMs], [0, 0, null])
})

t.test('what changed last is first, words are last', async (t) => {
  const { world, planner, patches } = openLab(3)
  world.writeAll(patches, 0)
  planner.plan(patches, world.objects, 0)
  const [p0, p1, p2] = patches
  if (p0 === undefined || p1 === undefined || p2 === undefined) throw new Error('three')
  const fact = { reason: 'Nowhere', status: 'False' }
  const first = [changed(p0, { message: 'x' }), changed(p1, fact), p2]
  t.same(namesOf(planner.plan(first, world.objects, 50_000).due), ['p1', 'p0'])
  const second = [...first.slice(0, 2), changed(p2, fact)]
  t.same(namesOf(planner.plan(second, world.objects, 50_500).due), ['p2', 'p1', 'p0'])
})

t.test('until our view has moved on, what was written counts as there', async (t) => {
  const { world, planner, patches } = openLab(1)
  planner.done(only(planner.plan(patches, world.objects, 0).due), 0)
  t.equal(planner.plan(patches, world.objects, 60_000).pending.size, 0, 'the watch is late')
  world.change(world.object(only(patches)))
  t.equal(planner.plan(patches, world.objects, 60_000).due.length, 1, 'another has taken it away')
})

t.test('one object is not written without pause, its words seldom', async (t) => {
  const { world, planner, patches } = openLab(1)
  planner.done(only(planner.plan(patches, world.objects, 0).due), 0)
  world.change(world.object(only(patches)))
  const soon = planner.plan(patches, world.objects, FACT_INTERVAL_MS - 1)
  t.same([soon.due.length, soon.pending.size, soon.waitMs], [0, 1, 1])
  t.equal(planner.plan(patches, world.objects, FACT_INTERVAL_MS).due.length, 1)
  world.writeAll(patches, 0)
  const words = [changed(only(patches), { message: 'two of three' })]
  const later = planner.plan(words, world.objects, 2000)
  t.same([later.due.length, later.waitMs], [0, WORDS_INTERVAL_MS - 2000])
  t.equal(planner.plan(words, world.objects, WORDS_INTERVAL_MS).due.length, 1)
})

t.test(
  'who takes ours away again and again finds it later and later, until it is to say something else',
  async (t) => {
    const { world, planner, patches } = openLab(1)
    let nowMs = 0
    const writeAgain = (waitMs: number): void => {
      t.equal(planner.plan(patches, world.objects, nowMs + waitMs - 1).due.length, 0, `not before ${waitMs}`)
      nowMs += waitMs
      planner.done(only(planner.plan(patches, world.objects, nowMs).due), nowMs)
      world.change(world.object(only(patches)))
    }
    planner.done(only(planner.plan(patches, world.objects, nowMs).due), nowMs)
    world.change(world.object(only(patches)))
    for (let doublings = 0; doublings <= MAX_REWRITE_DOUBLINGS; doublings++)
      writeAgain(FACT_INTERVAL_MS * 2 ** doublings)
    writeAgain(FACT_INTERVAL_MS * 2 ** MAX_REWRITE_DOUBLINGS)
    const other = [changed(only(patches), { reason: 'x' })]
    t.equal(planner.plan(other, world.objects, nowMs + FACT_INTERVAL_MS).due.length, 1)
  },
)

t.test('what was refused waits, unless it is to say something else', async (t) => {
  const { world, planner, patches } = openLab(2)
  planner.failed(only(planner.plan(patches, world.objects, 0).due), 0, 10_000)
  const { due, pending, waitMs } = planner.plan(patches, world.objects, 1)
  t.same([namesOf(due), pending.size, waitMs], [['p1'], 2, 9_999])
  const other = patches.map((each, index) => (index === 0 ? changed(each, { reason: 'x' }) : each))
  t.same(namesOf(planner.plan(other, world.objects, 2).due), ['p0', 'p1'])
})

t.test('a plan is bounded, objects that are gone are forgotten', async (t) => {
  const { world, planner, patches } = openLab(MAX_PLANNED_STATUSES + 1)
  const { due, pending } = planner.plan(patches, world.objects, 0)
  t.same([due.length, pending.size, planner.size], [MAX_PLANNED_STATUSES, patches.length, patches.length])
  t.equal(
    planner.plan(patches.slice(0, MAX_PLANNED_STATUSES), world.objects, 0).due.length,
    MAX_PLANNED_STATUSES,
  )
  planner.plan(patches.slice(0, 2), world.objects, 0)
  t.equal(planner.size, 2)
  world.remove(only(patches))
  t.equal(planner.plan(patches.slice(0, 1), world.objects, 0).due.length, 0, 'no longer in the view')
  planner.done({ key: 'x', patch: only(patches), seenVersion: '' }, 0)
  planner.failed({ key: 'x', patch: only(patches), seenVersion: '' }, 0, 1)
  t.equal(planner.size, 1)
})
