// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { boundText, counter, family, gauge } from '../../../mesh/telemetry/exposition.ts'

t.test('a family is its help, its type and its samples, or nothing', async (t) => {
  t.equal(gauge('a', 'as many', 3), '# HELP a as many\n# TYPE a gauge\na 3\n')
  t.equal(counter('b', 'so far', 2), '# HELP b so far\n# TYPE b counter\nb_total 2\n')
  t.equal(family('c', 'counter', 'none', []), '')
})

t.test('bounds of buckets are floats', async (t) => {
  t.same([0.5, 1, 1000, Number.POSITIVE_INFINITY].map(boundText), ['0.5', '1.0', '1000.0', '+Inf'])
})
