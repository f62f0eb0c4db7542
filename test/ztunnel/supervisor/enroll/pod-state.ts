// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  isSought,
  newStanding,
  nextStanding,
  type PodEffect,
  type PodEvent,
  type PodStanding,
  redirectionOf,
} from '../../../../ztunnel/supervisor/enroll/pod-state.ts'

const IN: PodEvent = { type: 'decided', goal: 'in' }
const OUT: PodEvent = { type: 'decided', goal: 'out' }
const SHOWN: PodEvent = { type: 'shown', told: null, goal: 'in' }
const FOUND: PodEvent = { type: 'found', inode: 7 }
const GOOD: PodEvent = { type: 'answered', isEnrolled: true }
const BAD: PodEvent = { type: 'answered', isEnrolled: false }
const SERVED: PodEvent = { type: 'served' }
const PASSED: PodEvent = { type: 'passed' }
const told = (redirection: 'enabled' | 'pending' | null): PodEvent => ({ type: 'told', redirection })

/** What becomes of a pod, and what was to be done on the way. */
function live(events: readonly (PodEvent | number)[], from = newStanding(0)) {
  let standing = from
  let nowMs = 0
  const effects: PodEffect[] = []
  for (const event of events) {
    if (typeof event === 'number') nowMs += event
    else {
      const next = nextStanding(standing, event, nowMs)
      standing = next.standing
      if (next.effect !== 'none') effects.push(next.effect)
    }
  }
  return { standing, effects, state: standing.state, says: redirectionOf(standing, nowMs) }
}

const LIVES: readonly [string, readonly (PodEvent | number)[], PodStanding['state'], readonly PodEffect[]][] =
  [
    ['one that is not wanted stays out', [OUT, FOUND, PASSED], 'out', []],
    ['one that is wanted is sought', [IN], 'wanted', ['seek']],
    ['what has become of it is a reason to look again', [SHOWN, SHOWN], 'wanted', ['seek', 'seek']],
    ['it is handed over and stands', [IN, FOUND, GOOD], 'enrolled', ['seek', 'enrol']],
    ['a failure is remembered', [IN, FOUND, BAD], 'failed', ['seek', 'enrol']],
    ['the roster tries again', [IN, FOUND, BAD, { type: 'enrolled' }], 'enrolled', ['seek', 'enrol']],
    [
      'its rules stood before the answer',
      [IN, FOUND, { type: 'enrolled' }, BAD],
      'enrolled',
      ['seek', 'enrol'],
    ],
    ['the same namespace is no news', [IN, FOUND, GOOD, FOUND], 'enrolled', ['seek', 'enrol']],
    [
      'another namespace is',
      [IN, FOUND, GOOD, { type: 'found', inode: 8 }],
      'enrolling',
      ['seek', 'enrol', 'enrol'],
    ],
    ['wanted no more before it was found', [IN, OUT], 'out', ['seek']],
    [
      'it leaves when others have heard it',
      [IN, FOUND, GOOD, told('enabled'), OUT, 9_000, PASSED],
      'leaving',
      ['seek', 'enrol'],
    ],
    [
      'and had the time to act on it',
      [IN, FOUND, GOOD, told('enabled'), OUT, told(null), 999, PASSED],
      'leaving',
      ['seek', 'enrol'],
    ],
    [
      'then it goes',
      [IN, FOUND, GOOD, told('enabled'), OUT, told(null), 1_000, PASSED],
      'out',
      ['seek', 'enrol', 'release'],
    ],
    ['wanted again, it stays', [IN, FOUND, GOOD, OUT, IN, 9_000, PASSED], 'enrolled', ['seek', 'enrol']],
    [
      'of one before us it takes what is left',
      [{ type: 'shown', told: 'enabled', goal: 'out' }, told(null), 1_000, PASSED],
      'out',
      ['restore'],
    ],
    ['nothing is decided before all is known', [{ type: 'shown', told: 'enabled', goal: null }], 'out', []],
  ]
for (const [name, events, state, effects] of LIVES)
  t.test(name, async (t) => {
    const after = live(events)
    t.equal(after.state, state)
    t.same(after.effects, effects)
  })

t.test('it is said to be in only while it is served; a short absence is not said', async (t) => {
  const enrolled = [IN, FOUND, GOOD]
  t.equal(live(enrolled).says, undefined)
  t.equal(live([...enrolled, SERVED]).says, 'enabled')
  t.equal(live([...enrolled, 5_000]).says, 'pending')
  t.equal(live([...enrolled, SERVED, 60_000, { type: 'unserved' }, 4_999]).says, undefined)
  t.equal(live([...enrolled, SERVED, 60_000, { type: 'unserved' }, 5_000]).says, 'pending')
  t.equal(live([IN, 5_000]).says, null)
  t.equal(live([...enrolled, SERVED, OUT]).says, null)
})

const redirection = fc.constantFrom('enabled', 'pending', null)
const goal = fc.constantFrom('in', 'out')
const anyEvent: fc.Arbitrary<PodEvent | number> = fc.oneof(
  fc.nat(2_000),
  fc.record({ type: fc.constant('decided'), goal }),
  fc.record({ type: fc.constant('shown'), told: redirection, goal: fc.option(goal) }),
  fc.record({ type: fc.constant('told'), redirection }),
  fc.record({ type: fc.constant('found'), inode: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ type: fc.constant('answered'), isEnrolled: fc.boolean() }),
  fc.constantFrom<PodEvent>({ type: 'enrolled' }, { type: 'served' }, { type: 'unserved' }, PASSED),
)

t.test(
  'whatever happens: what is handed over is released once, and nothing is said that is not so',
  async () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        let standing = newStanding(0)
        let nowMs = 0
        let held = 0
        for (const event of events) {
          if (typeof event === 'number') {
            nowMs += event
            continue
          }
          const { standing: next, effect } = nextStanding(standing, event, nowMs)
          if (effect === 'enrol') held = event.type === 'found' ? event.inode : -1
          if (effect === 'release') {
            if (held === 0) return false
            held = 0
          }
          if (effect === 'restore' && held !== 0) return false
          const isHeld = ['enrolling', 'failed', 'enrolled'].includes(next.state)
          const says = redirectionOf(next, nowMs)
          const isRight =
            next.inode === held &&
            (!isHeld || held !== 0) &&
            (next.state !== 'wanted' || held === 0) &&
            (next.leaveAtMs === null || next.state === 'leaving') &&
            (next.state !== 'leaving' || next.told !== null || next.leaveAtMs !== null) &&
            (says !== 'enabled' || (next.state === 'enrolled' && next.isServed)) &&
            isSought(next) === (isHeld || next.state === 'wanted')
          if (!isRight) return false
          standing = next
        }
        // From wherever it is, it goes out.
        const end = live([OUT, told(null), 1_000, PASSED], { ...standing, leaveAtMs: null })
        return end.state === 'out' && end.standing.inode === 0
      }),
      { numRuns: 3_000 },
    )
  },
)
