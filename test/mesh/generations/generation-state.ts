// SPDX-License-Identifier: Apache-2.0
// Every way of a generation, as a table; with real processes: test/netns/ztunnel-generations.ts.
import fc from 'fast-check'
import t from 'tap'
import {
  decideGenerations,
  drainingGenerations,
  FIRST_STANDING,
  type GenerationEffect,
  type GenerationEvent,
  generationIn,
  MAX_DRAINING_GENERATIONS,
  type Standing,
} from '../../../mesh/generations/generation-state.ts'

/** `ready 2`, `exited 1 clean`, `asked`. */
function eventOf(text: string): GenerationEvent {
  const [type = '', generation, isClean] = text.split(' ')
  // as: the table's own words; of what an event has too much nothing is read
  return { type, generation: Number(generation), isClean: isClean === 'clean' } as GenerationEvent
}

function effectText(effect: GenerationEffect): string {
  const { do: name, ...facts } = effect
  return [name, ...Object.values(facts).map((fact) => (fact === true ? 'beside' : fact))]
    .filter((part) => part !== false)
    .join(' ')
}

const textOf = ({ role, generations }: Standing): string =>
  [role, ...[...generations].map(([generation, state]) => `${generation} ${state}`)].join(', ')

function run(events: readonly string[]): { readonly standing: Standing; readonly last: string } {
  let standing = FIRST_STANDING
  let last = ''
  for (const event of events) {
    const step = decideGenerations(standing, eventOf(event))
    standing = step.standing
    last = step.effects.map(effectText).join(', ')
  }
  return { standing, last }
}

const SERVING = ['needed', 'ready 1']
const SWITCHING = [...SERVING, 'upgrade', 'ready 2']
const UPGRADED = [...SWITCHING, 'retired 1']
const ASKED = [...SERVING, 'asked']
const HANDED = [...ASKED, 'retired 1']

/** What happens, what the last of it asks for, what stands then. */
const TABLE: ReadonlyArray<readonly [readonly string[], string, string]> = [
  [['needed'], 'start 1, lead 1', 'leading, 1 serving'],
  [[...SERVING], 'report-serving', 'leading, 1 serving'],
  [[...SERVING, 'needed'], '', 'leading, 1 serving'],
  [['adopted'], '', 'leading, 1 serving'],
  [[...SERVING, 'exited 1'], 'report-unserved, restart', 'leading'],
  [[...SERVING, 'exited 1', 'needed'], 'start 2, lead 2', 'leading, 2 serving'],
  [[...SERVING, 'exited 1', 'upgrade'], 'refuse no data process runs; the next one is new', 'leading'],

  [[...SERVING, 'upgrade'], 'start 2 beside', 'leading, 1 serving, 2 starting'],
  [[...SERVING, 'upgrade', 'upgrade'], 'refuse an upgrade is under way', 'leading, 1 serving, 2 starting'],
  [SWITCHING, 'retire 1', 'leading, 1 retiring, 2 ready'],
  [[...SWITCHING, 'upgrade'], 'refuse an upgrade is under way', 'leading, 1 retiring, 2 ready'],
  [UPGRADED, 'lead 2, report-serving, drain 1', 'leading, 1 draining, 2 serving'],
  [[...UPGRADED, 'retired 1'], 'lead 2', 'leading, 1 draining, 2 serving'],
  [[...UPGRADED, 'late 2'], '', 'leading, 1 draining, 2 serving'],
  [[...UPGRADED, 'exited 1 clean'], '', 'leading, 2 serving'],
  [[...UPGRADED, 'exited 1'], 'report-lost 1', 'leading, 2 serving'],
  [[...UPGRADED, 'exited 2'], 'report-unserved, restart', 'leading, 1 draining'],
  [[...UPGRADED, 'exited 2', 'needed'], 'start 3, lead 3', 'leading, 1 draining, 3 serving'],

  [[...SERVING, 'upgrade', 'exited 2'], 'report-failed 2', 'leading, 1 serving'],
  [[...SERVING, 'upgrade', 'late 2'], 'kill 2, report-failed 2', 'leading, 1 serving'],
  [[...SERVING, 'upgrade', 'late 2', 'exited 2'], '', 'leading, 1 serving'],
  [[...SERVING, 'upgrade', 'late 2', 'upgrade'], 'start 3 beside', 'leading, 1 serving, 3 starting'],
  [[...SWITCHING, 'exited 2'], 'report-failed 2, lead 1', 'leading, 1 serving'],
  [[...SWITCHING, 'exited 2', 'retired 1'], '', 'leading, 1 serving'],
  [[...SWITCHING, 'exited 1'], 'lead 2, report-serving', 'leading, 2 serving'],
  [[...SERVING, 'upgrade', 'exited 1'], 'report-unserved, lead 2', 'leading, 2 serving'],
  [[...SERVING, 'upgrade', 'exited 1', 'ready 2'], 'report-serving', 'leading, 2 serving'],
  [[...SERVING, 'upgrade', 'exited 1', 'late 2'], '', 'leading, 2 serving'],

  [ASKED, 'retire 1', 'handing-over, 1 retiring'],
  [HANDED, 'give', 'handing-over, 1 retired'],
  [[...HANDED, 'retired 1'], '', 'handing-over, 1 retired'],
  [[...ASKED, 'exited 1'], 'give', 'handing-over'],
  [[...HANDED, 'exited 1'], '', 'handing-over'],
  [[...HANDED, 'next-serves'], 'drain 1', 'stood-down, 1 draining'],
  [[...HANDED, 'exited 1', 'next-serves'], '', 'stood-down'],
  [[...HANDED, 'next-failed'], 'lead 1', 'leading, 1 serving'],
  [[...HANDED, 'exited 1', 'next-failed'], 'start 2, lead 2', 'leading, 2 serving'],
  [[...HANDED, 'asked'], 'refuse this supervisor is handing-over', 'handing-over, 1 retired'],
  [[...HANDED, 'upgrade'], 'refuse this supervisor is handing-over', 'handing-over, 1 retired'],
  [['asked'], 'give', 'handing-over'],
  [[...SERVING, 'upgrade', 'asked'], 'kill 2, retire 1', 'handing-over, 1 retiring'],
  [[...SWITCHING, 'asked'], 'kill 2', 'handing-over, 1 retiring'],
  [[...SWITCHING, 'asked', 'exited 2'], '', 'handing-over, 1 retiring'],
  [[...SWITCHING, 'asked', 'retired 1'], 'give', 'handing-over, 1 retired'],
  [[...UPGRADED, 'asked'], 'retire 2', 'handing-over, 1 draining, 2 retiring'],
  [[...HANDED, 'next-serves', 'needed'], '', 'stood-down, 1 draining'],
  [[...HANDED, 'next-serves', 'exited 1'], 'report-lost 1', 'stood-down'],
  [[...HANDED, 'next-serves', 'leader-lost'], '', 'leading, 1 draining'],
  [[...HANDED, 'next-serves', 'leader-lost', 'outrun'], '', 'stood-down, 1 draining'],
  [[...HANDED, 'next-serves', 'leader-lost', 'needed'], 'start 2, lead 2', 'leading, 1 draining, 2 serving'],

  [[...SERVING, 'stop'], '', 'stopping, 1 serving'],
  [[...SERVING, 'stop', 'exited 1'], '', 'stopping'],
  [[...SERVING, 'stop', 'needed'], '', 'stopping, 1 serving'],
  [[...SERVING, 'stop', 'asked'], 'refuse this supervisor is stopping', 'stopping, 1 serving'],
  [[...SERVING, 'upgrade', 'stop', 'exited 2'], 'report-failed 2', 'stopping, 1 serving'],
]

t.test('every way of a generation', async (t) => {
  for (const [events, effects, after] of TABLE) {
    const { standing, last } = run(events)
    t.same([last, textOf(standing)], [effects, after], events.join(', '))
  }
})

t.test('of too many that drain the oldest is cut', async (t) => {
  const events = [...SERVING]
  for (let next = 2; next <= MAX_DRAINING_GENERATIONS + 1; next++)
    events.push('upgrade', `ready ${next}`, `retired ${next - 1}`)
  t.equal(drainingGenerations(run(events).standing).length, MAX_DRAINING_GENERATIONS)
  const next = MAX_DRAINING_GENERATIONS + 2
  const { standing, last } = run([...events, 'upgrade', `ready ${next}`, `retired ${next - 1}`])
  t.match(last, /, cut 1$/)
  t.equal(drainingGenerations(standing).length, MAX_DRAINING_GENERATIONS)
  t.equal(drainingGenerations(standing)[0], 2)
})

t.test('whatever happens, one generation at most has the place, and a leader gets one', async () => {
  const names = ['needed', 'upgrade', 'asked', 'next-serves', 'next-failed', 'leader-lost', 'outrun']
  const numbered = fc
    .tuple(fc.constantFrom('ready', 'retired', 'late', 'exited'), fc.integer({ min: 1, max: 8 }))
    .map((words) => words.join(' '))
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constantFrom(...names), numbered), { maxLength: 60 }), (events) => {
      let standing = FIRST_STANDING
      let isRestarting = true // start() begins with it
      for (const event of events) {
        const step = decideGenerations(standing, eventOf(event))
        standing = step.standing
        const states = [...standing.generations.values()]
        const placed = states.filter((state) => /serving|retir/.test(state)).length
        if (placed > 1 || states.filter((state) => /starting|ready/.test(state)).length > 1) return false
        if (drainingGenerations(standing).length > MAX_DRAINING_GENERATIONS) return false
        if (step.effects.some((effect) => effect.do === 'restart')) isRestarting = true
        if (event === 'leader-lost' || event === 'outrun') isRestarting = true // lead() comes to it
        const isNobody = generationIn(standing, 'serving', 'retiring', 'retired') === null
        if (standing.role === 'leading' && isNobody && !isRestarting) return false
        if (!isNobody) isRestarting = false
        // Who is ready waits for somebody who leaves.
        if (generationIn(standing, 'ready') !== null && generationIn(standing, 'retiring') === null)
          return false
      }
      return true
    }),
    { numRuns: 3000 },
  )
})
