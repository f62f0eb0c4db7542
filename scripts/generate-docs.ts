// SPDX-License-Identifier: Apache-2.0
// Writes the generated pages of docs/. With --check it writes nothing and fails when a page differs.
// usage: node scripts/generate-docs.ts [--check] [--directory DIRECTORY]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { docPages } from './doc-pages.ts'

const ROOT = join(import.meta.dirname, '..')
const { values } = parseArgs({
  options: { check: { type: 'boolean', default: false }, directory: { type: 'string', default: ROOT } },
})

function contentOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

let differing = 0
for (const [path, content] of docPages(ROOT)) {
  const file = join(values.directory, path)
  if (contentOf(file) === content) continue
  differing++
  if (values.check) process.stderr.write(`${path} is not what the code says: run \`npm run docs\`\n`)
  else {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
    process.stdout.write(`${path} written\n`)
  }
}
process.exitCode = values.check && differing > 0 ? 1 : 0
