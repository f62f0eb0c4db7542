// SPDX-License-Identifier: Apache-2.0
// Compiles each program once and not once a lab: agents share the cache of the test files, and each supervisor finds the cache
// beside its admin socket that it would fill.
import { cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  compileCacheDirectory,
  type ProgramRoom,
  warmCompileCache,
} from '../../mesh/generations/compile-cache.ts'
import { openLog } from '../../mesh/runtime/log.ts'

const CACHES = fileURLToPath(new URL('../../node_modules/.cache/', import.meta.url))
/** All that a program of the tests is started with. */
export const AGENT_ENVIRONMENT = { NODE_COMPILE_CACHE: join(CACHES, 'sidestep-tests') }

/** Puts a filled cache where the supervisor looks for it; without one it fills its own. */
export async function seedCompileCache(adminSocket: string, room: ProgramRoom): Promise<void> {
  const wanted = compileCacheDirectory(adminSocket, room)
  const version = basename(wanted)
  const kept = join(CACHES, `sidestep-${room}`, version)
  if (!existsSync(kept)) await fill(kept, room)
  if (existsSync(wanted) || !existsSync(kept)) return
  cpSync(kept, `${wanted}-new`, { recursive: true })
  renameSync(`${wanted}-new`, wanted)
}

/** Other test files may do the same meanwhile: the first one stays. */
async function fill(directory: string, room: ProgramRoom): Promise<void> {
  const filling = `${directory}-${process.pid}`
  if (await warmCompileCache(filling, room, openLog('warn')))
    try {
      renameSync(filling, directory)
    } catch {
      rmSync(filling, { recursive: true, force: true })
    }
  for (const other of readdirSync(dirname(directory)))
    if (!other.startsWith(basename(directory)))
      rmSync(join(dirname(directory), other), { recursive: true, force: true })
}
