// SPDX-License-Identifier: Apache-2.0
// A directory for Unix sockets of one test: their paths must be short, tap's own directories are not.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export function socketDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'sidestep-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
