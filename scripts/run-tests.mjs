// SPDX-License-Identifier: Apache-2.0
// Runs one or more test levels (see CONTRIBUTING.md) under Node 24 and prints one closing line.
// usage: node scripts/run-tests.mjs LEVEL… [-- FILE…]   exit code 1 when a test failed, was skipped or
// none ran. A file that fails runs once more, alone; one that passes then is told as FLAKY.
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ALONE, LEVELS, orderOf, runOf } from './test-levels.mjs'
import { runFiles } from './test-pool.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const split = process.argv.indexOf('--')
const levels = process.argv.slice(2, split < 0 ? undefined : split)
const unknown = levels.filter((level) => LEVELS[level] === undefined)
if (levels.length === 0 || unknown.length > 0) {
  process.stderr.write(`unknown level ${unknown.join(', ')}; there are: ${Object.keys(LEVELS).join(', ')}\n`)
  process.exit(2)
}
const { globs, jobs, seconds: timeoutSeconds } = runOf(levels)
const files =
  split < 0 ? globs.flatMap((glob) => fs.globSync(glob, { cwd: root })) : process.argv.slice(split + 1)
if (files.length === 0) {
  process.stderr.write(`no test file for ${levels.join(', ')}\n`)
  process.exit(1)
}
/** Above this it is no chance, and the time is better spent on reading; a machine that is starved for a while takes several. */
const MAX_RUN_AGAIN = 12
const outcomes = await run(orderOf(files.sort()), jobs)
const again = outcomes.filter(({ isOk }) => !isOk).map(({ file }) => file)
// What failed runs once more, alone: a processor that was shared with other tests is no defect. It is told, not hidden.
if (again.length > 0 && again.length <= MAX_RUN_AGAIN) {
  print(`once more, alone: ${again.join(' ')}`)
  const second = await run(again, ALONE)
  for (const each of second) {
    const index = outcomes.findIndex(({ file }) => file === each.file)
    outcomes.splice(index, 1, each)
  }
  const flaky = second.filter(({ isOk }) => isOk).map(({ file }) => file)
  if (flaky.length > 0) print(`FLAKY, passed only alone: ${flaky.join(' ')}`)
}
const counted = outcomes.flatMap(({ lines }) => lines)
const failed = counted.filter((line) => /^ *not ok /.test(line)).length
const passed = counted.filter((line) => /^ *ok /.test(line) && !/# SKIP/i.test(line)).length
const skipped = counted.filter((line) => /^ *ok .*# (SKIP|TODO)/i.test(line)).length
print(`${levels.join('+')}: ${files.length} files\n${passed} passed, ${failed} failed, ${skipped} skipped`)
const isGood = outcomes.every(({ isOk }) => isOk) && failed === 0 && passed > 0 && skipped === 0
process.exit(isGood ? 0 : 1)

/** Runs the files and prints a line of each, and what failed. */
async function run(paths, jobs) {
  const results = await runFiles(paths, jobs, timeoutSeconds, ({ file, isOk, seconds, lines }) => {
    if (process.env.TAP_VERBOSE === '1') print(lines.join('\n'))
    print(`${isOk ? 'ok' : 'not ok'} - ${file} # ${seconds.toFixed(1)} s`)
  })
  for (const { file, lines } of results.filter(({ isOk }) => !isOk))
    print(`\n# ${file}\n${failures(lines).join('\n')}\n`)
  return results
}

/** writeSync: what process.stdout still holds for a pipe is lost at exit. */
function print(text) {
  for (let rest = Buffer.from(`${text}\n`); rest.length > 0; ) {
    try {
      rest = rest.subarray(fs.writeSync(1, rest))
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error // a pipe that others made non-blocking is full
    }
  }
}

/** Every `not ok` with its diagnosis, and the headings of the subtests it is in. */
function failures(all) {
  const out = []
  const depth = (line) => line.search(/\S|$/)
  for (const [index, line] of all.entries()) {
    if (/^ *(# Subtest:|Bail out!)/.test(line)) {
      // A heading is worth a line when something below it failed: its own closing line says so.
      const closing = all
        .slice(index + 1)
        .find((next) => depth(next) === depth(line) && /^ *(not )?ok /.test(next))
      if (closing?.trimStart().startsWith('not ok')) out.push(line)
    }
    if (!/^ *not ok /.test(line)) continue
    out.push(line)
    if (all[index + 1]?.trim() !== '---') continue
    for (let at = index + 1; at < all.length; at++) {
      out.push(all[at])
      if (all[at].trim() === '...') break
    }
  }
  return out
}
