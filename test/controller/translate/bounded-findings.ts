// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { boundFindings } from '../../../controller/translate/bounded-findings.ts'
import type { ConfigFinding } from '../../../controller/translate/translation.ts'

const finding = (name: string, path: string): ConfigFinding => ({
  ...{ code: 'INVALID_VALUE', severity: 'error', origin: null, path, message: 'wrong', fix: 'mend it' },
  object: { group: '', kind: 'Pod', namespace: 'shop', name },
})
const told = (all: readonly ConfigFinding[]): string[] =>
  all.map(({ code, object, path, message }) => `${code} ${object.name} ${path} ${message}`)

t.test('findings up to the limit are told as they are', async (t) => {
  const all = [finding('a', '1'), finding('a', '2'), finding('b', '1')]
  t.equal(boundFindings(all, 3), all)
  t.same(boundFindings([]), [])
})

t.test('beyond the limit every object has its first, and the others are counted', async (t) => {
  const all = [finding('a', '1'), finding('a', '2'), finding('b', '1'), finding('a', '3')]
  t.same(told(boundFindings(all, 3)), [
    'INVALID_VALUE a 1 wrong',
    'INVALID_VALUE b 1 wrong',
    'MORE_FINDINGS a  there are 2 more findings, the first of them about this object',
  ])
  const objects = ['a', 'b', 'c', 'd'].map((name) => finding(name, ''))
  t.same(
    told(boundFindings(objects, 2)).at(-1),
    'MORE_FINDINGS c  there are 2 more findings, the first of them about this object',
  )
  t.equal(boundFindings(objects, 2).length, 3)
})
