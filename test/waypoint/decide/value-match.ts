// SPDX-License-Identifier: Apache-2.0
// Conditions themselves are tried by route-match.ts; here is what hostile ones cost.
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { PathMatchSchema, ValueMatchSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { compilePath, compileValue, isUnder, segmentPrefix } from '../../../waypoint/decide/value-match.ts'
import { startCpuTime } from '../../support/cpu-time.ts'

/** Backtracking engines take longer than anybody waits. */
const EXPLOSIVE = ['(a+)+$', '(a|a)*b', '(.*a){20}', '^(([a-z])+.)+[A-Z]([a-z])+$']
const LONG = `${'a'.repeat(20_000)}!`
const MAX_MS = 5_000

t.test('explosive expressions take time as long as their text', { timeout: 30_000 }, async (t) => {
  for (const value of EXPLOSIVE) {
    const test = compileValue(create(ValueMatchSchema, { name: 'a', kind: { case: 'regex', value } }))
    const cpuMs = startCpuTime()
    t.equal(test(LONG), false, value)
    t.ok(cpuMs() < MAX_MS, value)
  }
})

t.test('what cannot be compiled is true of nothing', async (t) => {
  for (const value of ['(', '(?=a)', '\\1', 'a{2000}'])
    t.equal(compilePath(create(PathMatchSchema, { kind: { case: 'regex', value } }))?.('/a'), false, value)
  t.equal(compilePath(create(PathMatchSchema, {}))?.('/'), false, 'a match of a kind that we do not know')
  t.equal(compileValue(create(ValueMatchSchema, {}))('a'), false)
  t.equal(compilePath(undefined), null)
})

t.test('a prefix ends at the border of a segment', async (t) => {
  t.equal(segmentPrefix('/a/'), '/a')
  t.equal(segmentPrefix('/'), '')
  t.ok(isUnder('/a/b', '/a') && isUnder('/a', '/a') && isUnder('/a', ''))
  t.notOk(isUnder('/ab', '/a'))
})
