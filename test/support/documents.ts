// SPDX-License-Identifier: Apache-2.0
// What the repository's pages say, for tests that hold them to it.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '..', '..')

/** Every page, as path from the root. */
export function pages(): readonly string[] {
  return globSync('{*.md,docs/**/*.md}', { cwd: ROOT }).sort()
}

export function pageText(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8')
}

/** The commands of a page's `sh` blocks, without comments. */
export function commandsOf(page: string): readonly string[] {
  return [...pageText(page).matchAll(/^```sh\n(.*?)^```$/gms)]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '')
}
