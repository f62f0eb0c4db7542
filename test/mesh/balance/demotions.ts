// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Demotions, endpointKey } from '../../../mesh/balance/demotions.ts'
import { MAX_DEMOTED, MAX_DEMOTION_MS, MIN_DEMOTION_MS, TRIAL_MS } from '../../../mesh/balance/limits.ts'

t.test('who failed is passed over, longer with every failure in a row, until it serves', async (t) => {
  const demotions = new Demotions()
  t.equal(demotions.isEmpty, true)
  t.equal(demotions.isQuiet(0), true)
  let nowMs = 0
  for (const times of [1, 2, 4, 8, 16]) {
    demotions.add('a', nowMs)
    t.equal(demotions.isOut('a', nowMs + times * MIN_DEMOTION_MS - 1), true)
    nowMs += times * MIN_DEMOTION_MS
    t.equal(demotions.isOut('a', nowMs), false, 'it is tried again')
    t.equal(demotions.isQuiet(nowMs + MAX_DEMOTION_MS), false, 'it is remembered')
    t.equal(demotions.isQuiet(nowMs + MAX_DEMOTION_MS + 1), true, 'nobody needs to be asked for')
    t.equal(demotions.isEmpty, false)
  }
  demotions.add('a', nowMs)
  t.equal(demotions.isOut('a', nowMs + MAX_DEMOTION_MS - 1), true)
  t.equal(demotions.isOut('a', nowMs + MAX_DEMOTION_MS), false, 'never longer than that')
  t.equal(demotions.isOut('b', nowMs), false)
  demotions.forgive('a')
  t.equal(demotions.isEmpty, true)
  demotions.add('a', nowMs)
  t.equal(demotions.isOut('a', nowMs + MIN_DEMOTION_MS), false, 'forgiven: from the beginning')
})

t.test('what fails while it is passed over is no failure more', async (t) => {
  const demotions = new Demotions()
  t.equal(demotions.add('a', 0), true)
  for (let nowMs = 1; nowMs < MIN_DEMOTION_MS; nowMs += 100) t.equal(demotions.add('a', nowMs), false)
  t.equal(demotions.isOut('a', MIN_DEMOTION_MS), false, 'a burst of calls costs it no more than one')
  t.equal(demotions.forgive('a'), true)
  t.equal(demotions.forgive('a'), false, 'nothing is left to forgive')
})

t.test('when its time is over one tries it, and the others wait for how that goes', async (t) => {
  const demotions = new Demotions()
  demotions.add('a', 0)
  t.equal(demotions.avoids('a', MIN_DEMOTION_MS - 1), true)
  t.equal(demotions.avoids('a', MIN_DEMOTION_MS), false, 'the one')
  t.equal(demotions.avoids('a', MIN_DEMOTION_MS), true, 'another')
  t.equal(demotions.add('a', MIN_DEMOTION_MS + 500), true, 'he failed: two in a row')
  t.equal(demotions.avoids('a', 3 * MIN_DEMOTION_MS + 499), true)
  t.equal(demotions.avoids('a', 3 * MIN_DEMOTION_MS + 500), false)
  t.equal(demotions.avoids('a', 3 * MIN_DEMOTION_MS + 500 + TRIAL_MS - 1), true, 'he takes his time')
  t.equal(demotions.avoids('a', 3 * MIN_DEMOTION_MS + 500 + TRIAL_MS), false, 'or has gone: the next one')
  demotions.forgive('a')
  t.equal(demotions.avoids('a', 3 * MIN_DEMOTION_MS + 500 + TRIAL_MS), false, 'it served: for all')
  t.equal(demotions.avoids('a', 3 * MIN_DEMOTION_MS + 500 + TRIAL_MS), false)
})

t.test('it is forgotten in time, and of too many the oldest', async (t) => {
  const demotions = new Demotions()
  demotions.add('a', 0)
  t.equal(demotions.avoids('a', MIN_DEMOTION_MS + MAX_DEMOTION_MS + 1), false)
  t.equal(demotions.isEmpty, true)
  for (let index = 0; index <= MAX_DEMOTED; index++) demotions.add(`${index}`, 0)
  t.equal(demotions.isOut('0', 1), false)
  t.equal(demotions.isOut('1', 1), true)
  t.not(endpointKey('a', '10.0.0.1:80'), endpointKey('a', '10.0.0.1:81'), 'ports fail alone')
})
