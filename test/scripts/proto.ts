// SPDX-License-Identifier: Apache-2.0
// The generated code is what the .proto files say.
import { execFileSync } from 'node:child_process'
import { cpSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..', '..')
const bin = join(root, 'node_modules', '.bin')

t.test('generating again changes nothing', async (t) => {
  const copy = t.testdir({})
  cpSync(join(root, 'proto'), copy, { recursive: true, filter: (path) => !path.endsWith('generated') })
  execFileSync(join(bin, 'buf'), ['generate'], {
    cwd: copy,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  })
  const files = globSync('generated/**/*_pb.*', { cwd: copy }).toSorted()
  t.ok(files.length >= 8)
  t.same(globSync('generated/**/*_pb.*', { cwd: join(root, 'proto') }).toSorted(), files)
  for (const file of files)
    t.equal(readFileSync(join(root, 'proto', file), 'utf8'), readFileSync(join(copy, file), 'utf8'), file)
})
