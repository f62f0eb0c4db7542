// SPDX-License-Identifier: Apache-2.0
// Installs the programs that tests run and that are not here: from Debian's packages, as root. Elsewhere it names them.
// usage: node scripts/programs.mjs PROGRAM…   runs on any Node from version 20
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const directories = (process.env.PATH ?? '').split(delimiter)

function isHere(program) {
  return directories.some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function aptGet(...args) {
  // Everything goes to stderr: stdout belongs to the script that asked.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  return spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 2, 2], env }).status === 0
}

// Each program has the name of its package.
const missing = process.argv.slice(2).filter((program) => !isHere(program))
if (missing.length > 0) {
  const canInstall = process.getuid?.() === 0 && isHere('apt-get')
  process.stderr.write(`${canInstall ? 'installing' : 'please install'} ${missing.join(', ')}\n`)
  const isInstalled =
    canInstall && aptGet('update') && aptGet('install', '-y', '--no-install-recommends', ...missing)
  if (!isInstalled) process.exit(1)
}
