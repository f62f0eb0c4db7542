// SPDX-License-Identifier: Apache-2.0
// The compile cache of both processes: beside the admin socket, in a directory only we may write. Filled once, by a
// process of its own, before the first generation starts.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { constants, existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Log } from '../runtime/log.ts'
import { DATA_PROCESS_FLAGS } from './data-process-flags.ts'

/** Filling takes about a second; without it the process only needs more memory. */
const WARM_UP_DEADLINE_MS = 15_000
const { S_IFMT, S_IFDIR, S_IWGRP, S_IWOTH } = constants
const WRITABLE_BY_OTHERS = S_IWGRP | S_IWOTH

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** The room of a program; its `warm-up.ts` loads everything that the program will load. */
export type ProgramRoom = 'ztunnel' | 'waypoint'

/** Where the cache of exactly this program is: one of another version would be found, and lack what is new. */
export function compileCacheDirectory(adminSocket: string, room: ProgramRoom, root = ROOT): string {
  const digest = createHash('sha256')
  for (const part of ['mesh', room, 'proto/generated'])
    for (const entry of readdirSync(join(root, part), { recursive: true, withFileTypes: true }))
      if (entry.isFile()) digest.update(readFileSync(join(entry.parentPath, entry.name)))
  return join(dirname(adminSocket), `compile-cache-${digest.digest('hex').slice(0, 16)}`)
}

/** Fills the cache when it is not there. Never fails: false means do without, which only costs memory. */
export async function warmCompileCache(
  directory: string,
  room: ProgramRoom,
  log: Log,
  root = ROOT,
): Promise<boolean> {
  try {
    // Node keeps entries by its own version and by content: an existing cache is never wrong, only incomplete.
    const isNew = !existsSync(directory)
    if (isNew) await mkdir(directory, { recursive: true, mode: 0o700 })
    if (!isPrivate(directory)) {
      log.warn({ directory }, 'compile cache not used: others may write it')
      return false
    }
    if (isNew) await fill(directory, join(root, room, 'warm-up.ts'))
    return true
  } catch (cause) {
    log.warn({ err: cause }, 'no compile cache, the data process needs more memory')
    return false
  }
}

/**
 * Starts this program again in the place of this process, with the same id, arguments and open files, from the cache:
 * without the stripper of TypeScript, which a process never gives back. Returns when it is that program already.
 */
export function runFromCompileCache(directory: string): void {
  if (process.env.NODE_COMPILE_CACHE !== undefined || process.execve === undefined) return
  const args = [process.execPath, ...DATA_PROCESS_FLAGS, ...process.argv.slice(1)]
  process.execve(process.execPath, args, { ...process.env, NODE_COMPILE_CACHE: directory })
}

/** What lies in the cache is run as code of this process: whoever may write there may do what we may. */
export function isPrivate(directory: string): boolean {
  const { uid, mode } = lstatSync(directory)
  return (mode & S_IFMT) === S_IFDIR && uid === process.getuid?.() && (mode & WRITABLE_BY_OTHERS) === 0
}

async function fill(directory: string, entry: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const child = spawn(process.execPath, [...DATA_PROCESS_FLAGS, entry], {
      stdio: 'ignore',
      env: { ...process.env, NODE_COMPILE_CACHE: directory },
      timeout: WARM_UP_DEADLINE_MS,
    })
    child.once('error', () => resolve())
    child.once('close', () => resolve())
  })
}
