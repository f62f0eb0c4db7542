// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  type AlarmFacts,
  CERTIFICATE_ALARMS,
  type CertificateAlarm,
  certificateAlarm,
} from '../../../mesh/identity/certificate-alarm.ts'

const HOUR_MS = 3_600_000
/** 24 hours from 0 on, due after 12. */
const DAY: AlarmFacts = {
  certificate: { notBeforeMs: 0, notAfterMs: 24 * HOUR_MS },
  renewalDueMs: 12 * HOUR_MS,
  renewalFailures: 0,
}

t.test('the table', async (t) => {
  const table: readonly (readonly [string, AlarmFacts, number, CertificateAlarm])[] = [
    ['fresh', DAY, 1, 'none'],
    ['due now', DAY, 12, 'none'],
    ['an hour of failures', { ...DAY, renewalFailures: 9 }, 13, 'none'],
    ['a tenth of the rest is gone', DAY, 13.2, 'late'],
    ['nearly half', DAY, 17.99, 'late'],
    ['half', DAY, 18, 'urgent'],
    ['nearly four fifths', DAY, 21.59, 'urgent'],
    ['four fifths', DAY, 21.6, 'critical'],
    ['the last second', DAY, 23.9997, 'critical'],
    ['the end', DAY, 24, 'expired'],
    ['long after the end', DAY, 24 * 365, 'expired'],
    ['a clock set back', DAY, -1, 'not-yet-valid'],
    ['a due time nobody knows is half of the life', { ...DAY, renewalDueMs: null }, 18, 'urgent'],
    ['due at its end', { ...DAY, renewalDueMs: 24 * HOUR_MS }, 23, 'none'],
    ['due late because half was over at once', { ...DAY, renewalDueMs: 23 * HOUR_MS }, 23.05, 'none'],
    ['none, not asked for yet', { ...DAY, certificate: null }, 1, 'none'],
    ['none, and asking failed', { ...DAY, certificate: null, renewalFailures: 1 }, 1, 'missing'],
  ]
  for (const [what, facts, atHours, expected] of table)
    t.equal(certificateAlarm(facts, atHours * HOUR_MS), expected, what)
})

t.test('urgency only grows with time', async (t) => {
  const order: readonly CertificateAlarm[] = [
    'not-yet-valid',
    'none',
    'late',
    'urgent',
    'critical',
    'expired',
  ]
  fc.assert(
    fc.property(
      fc.record({
        from: fc.nat(1e9),
        lifeMs: fc.integer({ min: 1, max: 1e9 }),
        dueShare: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      fc.array(fc.integer({ min: -1e9, max: 3e9 }), { minLength: 2 }),
      ({ from, lifeMs, dueShare }, times) => {
        const certificate = { notBeforeMs: from, notAfterMs: from + lifeMs }
        const facts = { certificate, renewalDueMs: from + lifeMs * dueShare, renewalFailures: 1 }
        const ranks = times
          .toSorted((left, right) => left - right)
          .map((nowMs) => order.indexOf(certificateAlarm(facts, nowMs)))
        return ranks.every((rank, index) => rank >= 0 && rank >= (ranks[index - 1] ?? 0))
      },
    ),
  )
  t.ok(order.every((each) => CERTIFICATE_ALARMS.includes(each)))
})
