// SPDX-License-Identifier: Apache-2.0
// In processes of their own: the log belongs to stderr.
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { LOG_LEVELS } from '../../../mesh/runtime/log-levels.ts'

interface Printed {
  readonly stdout: string
  readonly entries: readonly Readonly<Record<string, unknown>>[]
}

function run(body: string): Printed {
  const script = `const { openLog } = await import('./mesh/runtime/log.ts')\n${body}`
  const args = ['-i', process.execPath, '--input-type=module', '-e', script]
  const { stdout, stderr } = spawnSync('env', args, { encoding: 'utf8' })
  const lines = stderr.split('\n').filter((line) => line !== '')
  return { stdout, entries: lines.map((line) => JSON.parse(line) as Record<string, unknown>) } // as: one object a line
}

t.test('entries are lines of JSON on stderr: facts of the process, of the part, of the moment', async (t) => {
  const { stdout, entries } = run(`
    const log = openLog('info', { node: 'n1' }).child({ component: 'ca' })
    log.warn({ reason: 'CERT_EXPIRED', err: new Error('why') }, 'certificate refused')
    log.info({ text: 'a\\n{"level":60}' }, 'second')`)
  t.equal(stdout, '')
  t.equal(entries.length, 2, 'a line break in a value breaks no line')
  t.match(entries[0], {
    ...{ level: 40, node: 'n1', component: 'ca', reason: 'CERT_EXPIRED', msg: 'certificate refused' },
    ...{ err: { message: 'why' }, time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/ },
  })
})

t.test('nothing below the level is written, and silent is silent', async (t) => {
  const words = LOG_LEVELS.filter((level) => level !== 'silent')
  const script = (level: string): string =>
    `const log = openLog('${level}'); for (const word of ${JSON.stringify(words)}) log[word](word)`
  for (const level of ['trace', 'warn', 'fatal', 'silent'] as const) {
    const expected = level === 'silent' ? [] : words.slice(words.indexOf(level))
    t.same(
      run(script(level)).entries.map(({ msg }) => msg),
      expected,
      level,
    )
  }
})

t.test('what is logged right before the end is written', async (t) => {
  const { entries } = run(`openLog('info').fatal('last words'); process.exit(3)`)
  t.match(entries, [{ msg: 'last words' }])
})
