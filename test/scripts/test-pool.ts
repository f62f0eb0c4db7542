// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runFiles } from '../../scripts/test-pool.mjs'

const TAP = import.meta.resolve('tap')

/** What became of each file, in the order in which they were given. */
async function outcomesOf(t: Test, contents: readonly string[], timeoutSeconds: number) {
  const directory = t.testdir(Object.fromEntries(contents.map((content, at) => [`${at}.mjs`, content])))
  const done: string[] = []
  const files = contents.map((_, at) => join(directory, `${at}.mjs`))
  const results = await runFiles(files, { least: 2, most: 2 }, timeoutSeconds, ({ file }) => done.push(file))
  t.same(done.toSorted(), files, 'each is told once')
  t.same(
    results.map(({ file }) => file),
    files,
  )
  return results
}

const good = `import t from '${TAP}'; t.test('a subtest', async (t) => t.ok(true))`

t.test('one that fails, says nothing or breaks off is no good one', async (t) => {
  const results = await outcomesOf(
    t,
    [
      good,
      `import t from '${TAP}'; t.equal(1, 2, 'what differs')`,
      '',
      `import t from '${TAP}'; t.ok(true); throw new Error('broken')`,
      `console.log('ok 1 - it says'); process.exit(3)`,
    ],
    60,
  )
  t.same(
    results.map(({ isOk }) => isOk),
    [true, false, false, false, false],
  )
  t.match(results[1]?.lines.join('\n'), /^not ok 1 - what differs$/m)
  t.match(results[4]?.lines.at(-1), /^not ok - ended with 3/)
  for (const { isOk, lines } of results)
    t.equal(
      lines.some((line) => /^ *not ok /.test(line)),
      !isOk,
      'what is no good one has a line that is counted',
    )
})

t.test('one that hangs is ended with all it has started, and the others go on', async (t) => {
  const mark = join(t.testdirName, 'mark')
  const child = `setTimeout(() => fs.writeFileSync(${JSON.stringify(mark)}, ''), 3500)`
  const hangs = `
    import { spawn } from 'node:child_process'
    spawn(process.execPath, ['-e', ${JSON.stringify(child)}])
    console.log('ok 1 - until here')
    process.on('SIGALRM', () => {})
    setInterval(() => {}, 1000)`
  const [hung, ...others] = await outcomesOf(t, [hangs, good, good, good], 2)
  t.equal(hung?.isOk, false)
  t.match(hung?.lines.slice(-1), ['not ok - ended after 2 s'])
  t.ok(others.every(({ isOk }) => isOk))
  t.notOk(existsSync(mark))
})

t.test('each file runs once, and never more at once than there may be', async (t) => {
  const directory = t.testdir({ 'a.mjs': '' })
  const log = join(directory, 'log')
  const waits = `import { appendFileSync } from 'node:fs'
    appendFileSync('${log}', '+')
    setTimeout(() => { appendFileSync('${log}', '-'); console.log('ok 1 - waited') }, 1500)`
  const files = Array.from({ length: 5 }, (_, at) => join(directory, `${at}.mjs`))
  for (const file of files) writeFileSync(file, waits)
  const results = await runFiles(files, { least: 1, most: 3 }, 60, () => {})
  t.ok(results.every(({ isOk }) => isOk))
  const steps = [...readFileSync(log, 'latin1')]
  let count = 0
  const counts = steps.map((step) => (count += step === '+' ? 1 : -1))
  t.equal(steps.length, 2 * files.length)
  t.ok(Math.max(...counts) <= 3, steps.join(''))
})
