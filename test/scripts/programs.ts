// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'programs.mjs')

/** Runs it where only these programs are. */
function run(t: Test, programs: Readonly<Record<string, string>>, ...wanted: readonly string[]) {
  const directory = t.testdir({})
  for (const [name, script] of Object.entries(programs)) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(directory, name), 0o755)
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, ...wanted], {
    encoding: 'utf8',
    cwd: directory,
    env: { PATH: directory },
  })
  return { status, stdout, stderr, directory }
}

t.test('what is there is not asked for', async (t) => {
  t.match(run(t, { one: '', two: '' }, 'one', 'two'), { status: 0, stdout: '', stderr: '' })
})

t.test('what is missing is named where it cannot be installed', async (t) => {
  t.match(run(t, { one: '' }, 'one', 'two'), { status: 1, stdout: '', stderr: 'please install two\n' })
})

t.test('root on Debian has it installed, and hears when that fails', async (t) => {
  if (process.getuid?.() !== 0) {
    t.match(run(t, { 'apt-get': 'exit 0' }, 'two'), { status: 1 }, 'nobody else has')
    return
  }
  const good = run(t, { 'apt-get': 'echo "$@" >> asked' }, 'two', 'three')
  t.match(good, { status: 0, stderr: 'installing two, three\n' })
  t.ok(existsSync(join(good.directory, 'asked')))
  t.equal(run(t, { 'apt-get': 'exit 1' }, 'two').status, 1)
})
