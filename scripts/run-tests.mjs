// SPDX-License-Identifier: Apache-2.0
// Runs one or more test levels (see CONTRIBUTING.md) with tap under Node 24 and prints one closing line.
// usage: node scripts/run-tests.mjs LEVEL… [-- FILE…]   exit code 1 when a test failed, was skipped or none ran.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const UNIT = ['mesh', 'ztunnel', 'waypoint', 'controller', 'cli', 'demo', 'bench', 'image', 'scripts'].map(
  (room) => `test/${room}/**/*.ts`,
)
const LEVELS = {
  unit: UNIT,
  ...Object.fromEntries(
    ['contract', 'integration', 'fuzz', 'netns', 'interop', 'cluster', 'nodes', 'peer', 'soak'].map(
      (level) => [level, [`test/${level}/**/*.ts`]],
    ),
  ),
  conformance: ['test/conformance/*.ts'], // what is below runs in pods
}
const split = process.argv.indexOf('--')
const levels = process.argv.slice(2, split < 0 ? undefined : split)
const unknown = levels.filter((level) => LEVELS[level] === undefined)
if (levels.length === 0 || unknown.length > 0) {
  process.stderr.write(`unknown level ${unknown.join(', ')}; there are: ${Object.keys(LEVELS).join(', ')}\n`)
  process.exit(2)
}
const files =
  split < 0
    ? levels.flatMap((level) => LEVELS[level]).flatMap((glob) => fs.globSync(glob, { cwd: root }))
    : process.argv.slice(split + 1)
if (files.length === 0) {
  process.stderr.write(`no test file for ${levels.join(', ')}\n`)
  process.exit(1)
}
/** Levels with namespaces or clusters of their own: seconds to set up each, and much waiting. */
const isSlow = levels.some((level) =>
  ['netns', 'interop', 'cluster', 'nodes', 'conformance', 'peer', 'soak'].includes(level),
)
/** Levels that want the machine for themselves. */
const isSerial = levels.some((level) => ['interop', 'nodes', 'conformance', 'peer', 'soak'].includes(level))
const bin = join(root, 'node_modules', '.bin')
const tap = spawnSync(
  join(bin, 'node'),
  [
    join(bin, 'tap'),
    'run',
    '--reporter=tap',
    `--jobs=${isSerial ? 1 : 2}`,
    `--timeout=${isSlow ? 600 : 120}`,
    ...files.sort(),
  ],
  {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  },
)
// Subtests are indented: an assertion is an ok/not ok line that no subtest header announced.
const lines = tap.stdout.split('\n')
const failed = lines.filter((line) => /^ *not ok /.test(line)).length
const passed = lines.filter((line) => /^ +ok /.test(line) && !/# SKIP/i.test(line)).length
const skipped = lines.filter((line) => /^ *ok .*# (SKIP|TODO)/i.test(line)).length
// writeSync: what process.stdout still holds for a pipe is lost at exit.
const print = (text) => {
  for (let rest = Buffer.from(`${text}\n`); rest.length > 0; ) {
    try {
      rest = rest.subarray(fs.writeSync(1, rest))
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error // a pipe that others made non-blocking is full
    }
  }
}
if (process.env.TAP_VERBOSE === '1') print(tap.stdout)
else for (const line of lines.filter((text) => /^(not )?ok /.test(text))) print(line)
if (tap.status !== 0) print(`\n${failures(lines).join('\n')}\n`)
print(`${levels.join('+')}: ${files.length} files\n${passed} passed, ${failed} failed, ${skipped} skipped`)
const isGood = tap.status === 0 && failed === 0 && passed > 0 && skipped === 0
process.exit(isGood ? 0 : 1)

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
