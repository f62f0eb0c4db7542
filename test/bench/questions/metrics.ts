// SPDX-License-Identifier: Apache-2.0
// The table of figures is in order.
import t from 'tap'
import { METRICS, QUESTION_TEXT } from '../../../bench/questions/metrics.ts'
import { QUESTION_NAMES } from '../../../bench/results.ts'

t.test('every question has a title, and figures with different keys and headings', (t) => {
  for (const name of QUESTION_NAMES) {
    const metrics = METRICS[name]
    t.ok(metrics.length > 0 && QUESTION_TEXT[name][0] !== '')
    t.equal(new Set(metrics.map(({ key }) => key)).size, metrics.length)
    t.equal(new Set(metrics.map(({ group, label }) => `${group}/${label}`)).size, metrics.length)
  }
  t.end()
})
