// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isErrno } from '../../../mesh/errors/errno.ts'

t.test('an error of the system is told by its symbol, and nothing else is one', async (t) => {
  let found: unknown
  try {
    readFileSync(join(t.testdir({}), 'none'))
  } catch (error) {
    found = error
  }
  t.ok(isErrno(found, 'ENOENT'))
  t.notOk(isErrno(found, 'EACCES'))
  for (const other of [new Error('ENOENT'), { code: 'ENOENT' }, 'ENOENT', null, undefined])
    t.notOk(isErrno(other, 'ENOENT'))
})
