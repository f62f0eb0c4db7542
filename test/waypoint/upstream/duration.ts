// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { milliseconds } from '../../../waypoint/upstream/duration.ts'

t.test('seconds and nanoseconds are whole milliseconds; nothing is 0', (t) => {
  t.equal(milliseconds({ seconds: 2n, nanos: 500_600_000 }), 2501)
  t.equal(milliseconds({ seconds: 0n, nanos: 400_000 }), 0)
  t.equal(milliseconds(undefined), 0)
  t.end()
})
