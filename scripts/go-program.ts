// SPDX-License-Identifier: Apache-2.0
// Programs of others that tests run and Go builds: once per set of pins, under node_modules/.cache.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const cache = fileURLToPath(new URL('../node_modules/.cache/', import.meta.url))

/** What is built, and how. */
export interface GoProgram {
  readonly name: string
  /** Folder of the go.mod that pins it; every file in it belongs to what is built. */
  readonly module: string
  /** Of `go`: its command, then what follows `-o FILE`. */
  readonly args: readonly string[]
  /** Names a program that is there already. */
  readonly variable: string
  readonly deadlineMs: number
}

/** The path of the program. @throws Error when it can neither be found nor built */
export async function goProgram(program: GoProgram): Promise<string> {
  const { name, module, variable } = program
  const given = process.env[variable]
  if (given !== undefined && given !== '') {
    if (!existsSync(given)) throw new Error(`${variable}: there is no ${given}`)
    return given
  }
  const pins = createHash('sha256')
  for (const file of readdirSync(module).sort()) pins.update(await readFile(join(module, file)))
  const binary = join(cache, `${name}-${pins.digest('hex').slice(0, 16)}`)
  if (!existsSync(binary)) await build(program, binary)
  return binary
}

/** Builds beside `binary` and renames: two that start at once do not meet, and half a program is never seen. */
async function build({ name, module, args, variable, deadlineMs }: GoProgram, binary: string): Promise<void> {
  await mkdir(cache, { recursive: true })
  const target = await mkdtemp(`${binary}-`)
  const built = join(target, name)
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/local/go/bin`, CGO_ENABLED: '0' }
  try {
    const [command = '', ...rest] = args
    await promisify(execFile)('go', [command, '-trimpath', '-o', built, ...rest], {
      ...{ cwd: module, env, timeout: deadlineMs },
    })
    await rename(built, binary)
  } catch (error) {
    throw new Error(`go ${args.join(' ')} failed; or set ${variable}`, { cause: error })
  } finally {
    await rm(target, { recursive: true, force: true })
  }
}
