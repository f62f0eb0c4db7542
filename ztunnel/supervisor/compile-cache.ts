// SPDX-License-Identifier: Apache-2.0
// The compile cache of the data process: beside the admin socket, in a directory only we may write. Filled once, by a
// process of its own, before the first generation starts.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Log } from '../../mesh/runtime/log.ts'
import { DATA_PROCESS_FLAGS } from './data-process-flags.ts'

/** Filling takes about a second; without it the process only needs more memory. */
const WARM_UP_DEADLINE_MS = 15_000

/** Where the cache is. */
export function compileCacheDirectory(adminSocket: string): string {
  return join(dirname(adminSocket), 'compile-cache')
}

/** Fills the cache when it is not there. Never fails: the cache saves memory, nothing else. */
export async function warmCompileCache(directory: string, log: Log): Promise<void> {
  // Node keeps entries by its own version and by content: an existing cache is never wrong, only incomplete.
  if (existsSync(directory)) return
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const entry = fileURLToPath(new URL('../warm-up.ts', import.meta.url))
    await new Promise<void>((resolve) => {
      const child = spawn(process.execPath, [...DATA_PROCESS_FLAGS, entry], {
        stdio: 'ignore',
        env: { ...process.env, NODE_COMPILE_CACHE: directory },
        timeout: WARM_UP_DEADLINE_MS,
      })
      child.once('error', () => resolve())
      child.once('close', () => resolve())
    })
  } catch (cause) {
    log.warn({ err: cause }, 'no compile cache, the data process needs more memory')
  }
}
