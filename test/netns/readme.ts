// SPDX-License-Identifier: Apache-2.0
// Every command the README shows, run as it stands there; only the set-up before it is left out, because it would
// install into the checkout that is being tested.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { commandsOf, ROOT } from '../support/documents.ts'

interface Ended {
  readonly code: number | null
  readonly output: string
}

/** Runs a command in a process group of its own; `stopAt` presses Ctrl-C when the output matches. */
async function run(command: string, directory: string, stopAt: RegExp | null): Promise<Ended> {
  const withoutSetUp = command.replace(/^npm run /, 'npm run --ignore-scripts ')
  const env = { PATH: process.env.PATH, TMPDIR: directory, HOME: directory }
  const child = spawn('sh', ['-c', withoutSetUp], { cwd: ROOT, env, detached: true, timeout: 60_000 })
  let output = ''
  let isStopped = false
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    if (isStopped || stopAt === null || !stopAt.test(output) || child.pid === undefined) return
    isStopped = true
    process.kill(-child.pid, 'SIGINT') // as a terminal does: the whole group
  })
  const [code] = (await once(child, 'close')) as [number | null] // as: what the event carries
  return { code, output }
}

/** What each command must show; the first runs until Ctrl-C. */
const EXPECTED: readonly (readonly [command: string, stopAt: RegExp | null, shows: RegExp])[] = [
  ['npm run demo', /^ +fix /m, / POLICY_DENY by shop\/batch-may-not-call-cart$/m],
  ['npm run demo -- --once', null, /^\d+ ok, 0 failed, [\d.]+ s$/m],
  ['npm run --silent demo -- --once --json', null, /^\{\n {2}"mode": "netns",/],
]

t.test('the README shows exactly these commands', async (t) => {
  t.strictSame(
    commandsOf('README.md'),
    EXPECTED.map(([command]) => command),
  )
})

for (const [command, stopAt, shows] of EXPECTED) {
  t.test(`${command} does what the README says`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'readme-test-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const { code, output } = await run(command, directory, stopAt)
    t.match(output, shows)
    if (stopAt === null) t.equal(code, 0)
    t.strictSame(
      readdirSync(directory).filter((name) => name.startsWith('sidestep')),
      [],
      'nothing stays',
    )
  })
}
