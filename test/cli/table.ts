// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatFields, formatTable } from '../../cli/table.ts'

t.test('columns are as wide as what is in them, and lines do not end in spaces', async (t) => {
  t.equal(
    formatTable(
      ['NODE', 'POD'],
      [
        ['n1', 'shop/front'],
        ['node-with-a-name', null],
        ['', 3],
      ],
    ),
    'NODE              POD\nn1                shop/front\nnode-with-a-name  -\n-                 3\n',
  )
  t.equal(formatTable(['A'], []), 'A\n')
})

t.test('a cell cannot leave its line', async (t) => {
  const table = formatTable(['NAME'], [['a\n\u001b[1Ab']])
  t.equal(table, 'NAME\na\\u{a}\\u{1b}[1Ab\n')
  t.equal(formatFields([['name', '\u202eb\nc']]), 'name  \\u{202e}b\\u{a}c\n')
})

t.test('fields without a value are left out', async (t) => {
  t.equal(
    formatFields([
      ['code', 'OK'],
      ['policy', ''],
      ['longer', 1],
      ['none', null],
    ]),
    'code    OK\nlonger  1\n',
  )
  t.equal(formatFields([]), '')
})
