// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { MAX_TOKEN_FILE_BYTES, readTokenFile } from '../../../mesh/runtime/token-file.ts'

t.test('a token is read anew each time, without the white space around it', async (t) => {
  const path = join(t.testdir({ token: '  eyJ.one\n' }), 'token')
  t.equal(await readTokenFile(path), 'eyJ.one')
  writeFileSync(path, 'two')
  t.equal(await readTokenFile(path), 'two')
  writeFileSync(path, 'x'.repeat(MAX_TOKEN_FILE_BYTES))
  t.equal((await readTokenFile(path)).length, MAX_TOKEN_FILE_BYTES)
})

t.test('what is no token is never sent to anybody', async (t) => {
  const long = 'x'.repeat(MAX_TOKEN_FILE_BYTES + 1)
  const directory = t.testdir({
    empty: '',
    blank: ' \n',
    two: 'a b',
    lines: 'a\nb',
    long,
    odd: 'a\u00e9',
    nul: 'a\0',
  })
  for (const name of ['empty', 'blank', 'two', 'lines', 'long', 'odd', 'nul', 'missing', '.'])
    await t.rejects(readTokenFile(join(directory, name)), { code: 'CERT_UNAVAILABLE', retryable: true }, name)
})
