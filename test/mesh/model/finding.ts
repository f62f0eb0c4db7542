// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatFinding, nearest } from '../../../mesh/model/finding.ts'

t.test('a finding is one line that starts with its place', async (t) => {
  const finding = {
    file: 'a.yaml',
    line: 3,
    column: 9,
    path: 'x.y',
    message: 'unknown field',
    suggestion: 'z',
  }
  t.equal(formatFinding(finding), 'a.yaml:3:9: x.y: unknown field; did you mean "z"?')
  t.equal(formatFinding({ ...finding, path: '', suggestion: '' }), 'a.yaml:3:9: unknown field')
})

t.test('typing mistakes are recognised, other words are not', async (t) => {
  const words = ['workloads', 'services', 'policies', 'name']
  t.equal(nearest('worklaods', words), 'workloads')
  t.equal(nearest('Service', words), 'services')
  t.equal(nearest('nmae', words), 'name')
  t.equal(nearest('gateway', words), '')
  t.equal(nearest('', words), '')
  t.equal(nearest('x'.repeat(100_000), words), '')
})
