// SPDX-License-Identifier: Apache-2.0
// Installs the locked dependencies when they are missing or other than the lock file says, so that every `npm run`
// works on a fresh clone. Runs on any Node from version 20: nothing here may need more.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const stamp = join(root, 'node_modules', '.sidestep-setup')
/** What is installed depends on them. */
const SOURCES = ['package-lock.json', '.taprc']
const wanted = createHash('sha256')
  .update(Buffer.concat(SOURCES.map((name) => readFileSync(join(root, name)))))
  .digest('hex')

function run(command, args, cwd = root) {
  // Everything goes to stderr: stdout belongs to the script that asked for the set-up.
  const result = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2] })
  if (result.status === 0) return
  process.stderr.write(
    `set-up failed: ${command} ${args.join(' ')} (exit ${result.status ?? result.signal})\n`,
  )
  process.exit(1)
}

const isCurrent = existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted
if (!isCurrent) {
  process.stderr.write('installing dependencies …\n')
  // Not `npm ci`: it refuses a lock file from which a registry left out packages of other platforms.
  run('npm', ['install', '--no-save', '--no-fund', '--no-audit'])
  const node24 = join(root, 'node_modules', '.bin', 'node')
  const works = spawnSync(node24, ['--version'], { encoding: 'utf8' })
  // npm versions that do not run install scripts leave the `node` package without its binary.
  if (!works.stdout?.startsWith('v24.')) {
    run(process.execPath, ['installArchSpecificPackage'], join(root, 'node_modules', 'node'))
  }
  // Writes the test class without tap's plugins that no test needs: Node runs .ts itself, and every test file loads them.
  run(node24, [join(root, 'node_modules', '.bin', 'tap'), 'build'])
  writeFileSync(stamp, wanted)
}
