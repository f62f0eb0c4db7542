// SPDX-License-Identifier: Apache-2.0
// How old something saved may be.
import t from 'tap'
import { assessAge, CLOCK_SKEW_MS, MAX_SNAPSHOT_AGE_MS } from '../../../mesh/snapshot/snapshot-age.ts'

const NOW_MS = Date.UTC(2026, 0, 1)

t.test('what is as old as it may be is used, one millisecond more is too old', (t) => {
  t.match(assessAge(NOW_MS - MAX_SNAPSHOT_AGE_MS, NOW_MS), {
    ageMs: MAX_SNAPSHOT_AGE_MS,
    isFromFuture: false,
  })
  t.match(assessAge(NOW_MS - MAX_SNAPSHOT_AGE_MS - 1, NOW_MS), { code: 'SNAPSHOT_TOO_OLD' })
  t.end()
})

t.test('a clock that was set back does not make a node useless', (t) => {
  t.match(assessAge(NOW_MS + CLOCK_SKEW_MS, NOW_MS), { ageMs: 0, isFromFuture: false })
  t.match(assessAge(NOW_MS + CLOCK_SKEW_MS + 1, NOW_MS), { ageMs: 0, isFromFuture: true })
  t.match(assessAge(NOW_MS, 0), { ageMs: 0, isFromFuture: true })
  t.end()
})
