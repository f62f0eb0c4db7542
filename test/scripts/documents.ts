// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { commandsOf, pages, pageText, ROOT } from '../support/documents.ts'

t.test('every link of the pages leads to a file of the repository', async (t) => {
  for (const page of pages()) {
    for (const [, target = ''] of pageText(page).matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)) {
      if (/^https?:/.test(target)) continue
      t.ok(existsSync(join(ROOT, dirname(page), target)), `${page}: ${target}`)
    }
  }
})

t.test('every command of the pages runs a script there is', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string> // as: our own file
  }
  const commands = pages().flatMap(commandsOf)
  t.ok(commands.length >= 7)
  for (const command of commands) {
    const [, name] = /^npm (?:run (?:--silent )?)?([\w:]+)( -- [\w -]+)?$/.exec(command) ?? []
    t.ok(name !== undefined && scripts[name] !== undefined, command)
  }
})

t.test('every file and folder that the architecture draws exists', async (t) => {
  const text = pageText('docs/architecture.md')
  for (const room of ['errors', 'runtime', 'reactor', 'telemetry', 'h2', 'model', 'authz', 'hbone']) {
    t.match(text, new RegExp(`^ {2}${room}/`, 'm'), room)
    t.ok(existsSync(join(ROOT, 'mesh', room)), room)
  }
  const files = [...text.matchAll(/\b((?:accept|carry|decide)\/[a-z-]+)/g)].map(
    ([, file]) => `ztunnel/${file}.ts`,
  )
  t.ok(files.length >= 8)
  for (const file of files) t.ok(existsSync(join(ROOT, file)), file)
})
