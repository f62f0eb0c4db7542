// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { roundRow, roundTable } from '../../../bench/measure/round-table.ts'

t.test('a goal is reached when every round reaches it', async (t) => {
  const isSmall = (figure: number): boolean => figure <= 1
  t.equal(roundRow('a', [0.25, 1], 1, '≤ 1', isSmall), '| a | 0.3 | 1.0 | ≤ 1 | reached |')
  t.equal(roundRow('a', [0.25, 1.5], 1, '≤ 1', isSmall), '| a | 0.3 | 1.5 | ≤ 1 | **missed** |')
  t.equal(roundRow('a', [7], 0), '| a | 7 |  |  |', 'nothing is judged')
})

t.test('heads have as many columns as the rows', async (t) => {
  const [heads, line, row] = roundTable(2, [roundRow('a', [1, 2], 0)]).split('\n')
  const columns = (text = ''): number => text.split('|').length
  t.same([columns(line), columns(row)], [columns(heads), columns(heads)])
})
