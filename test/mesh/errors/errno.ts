// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isErrno, reasonOfOpen } from '../../../mesh/errors/errno.ts'

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

t.test('what could not be opened by our own fault has a reason', async (t) => {
  const failed = (code: string): Error => Object.assign(new Error(code), { code })
  for (const code of ['EMFILE', 'ENFILE']) t.equal(reasonOfOpen(failed(code)), 'OUT_OF_DESCRIPTORS')
  for (const code of ['EACCES', 'EPERM']) t.equal(reasonOfOpen(failed(code)), 'MISSING_CAPABILITY')
  for (const other of [failed('ENOENT'), new Error('x'), 'EMFILE', null]) t.equal(reasonOfOpen(other), null)
})
