// SPDX-License-Identifier: Apache-2.0
// No test file asks for more time than its level gives it: it would be ended before its own limit says what hangs.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { LEVELS, orderOf, runOf, WAITING } from '../../scripts/test-levels.mjs'

const root = join(import.meta.dirname, '..', '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
/** Where constants are that several files have their limit from. */
const SHARED = read('test/support/cluster.ts')
const number = (text: string): number => Number(text.replaceAll('_', ''))

/** The limits a test file gives itself, in milliseconds; NaN for one that cannot be read here. */
function limitsOf(text: string): number[] {
  return [...text.matchAll(/\bt\.setTimeout\(([^()]*)\)/g)].map(([, limit = '']) => {
    if (/^[\d_]+$/.test(limit)) return number(limit)
    if (!/^[A-Z_]+$/.test(limit)) return Number.NaN
    const declared = new RegExp(`\\bconst ${limit} = ([\\d_]+)$`, 'm')
    return number((declared.exec(text) ?? declared.exec(SHARED))?.[1] ?? 'nowhere')
  })
}

for (const [level, { globs, seconds }] of Object.entries(LEVELS)) {
  // What is found by chance runs for as long as it is told to, by a variable of the environment.
  if (level === 'fuzz') continue
  t.test(`${level}: no file needs more than ${seconds} s`, async (t) => {
    const files = globs.flatMap((glob) => globSync(glob, { cwd: root }))
    t.ok(files.length > 0)
    for (const file of files)
      for (const limitMs of limitsOf(read(file)))
        t.ok(limitMs <= seconds * 1000, `${file}: ${limitMs} ms of ${seconds} s`)
  })
}

t.test('files that wait are there, and have others beside them', async (t) => {
  for (const file of WAITING) t.ok(existsSync(join(root, file)), file)
  const files = (LEVELS.netns?.globs ?? []).flatMap((glob) => globSync(glob, { cwd: root })).sort()
  const order = orderOf(files)
  t.same(order.toSorted(), files)
  const places = WAITING.map((file) => order.indexOf(file))
  t.same(
    places,
    places.map((_, index) => 5 * index),
  )
  t.same(orderOf(['b', 'c']), ['b', 'c'])
  const alone = WAITING.slice(0, 2)
  t.same(orderOf(alone), alone)
})

t.test('every file of the soak has a limit that was read', async (t) => {
  const files = LEVELS.soak?.globs.flatMap((glob) => globSync(glob, { cwd: root })) ?? []
  for (const file of files)
    t.ok(
      limitsOf(read(file)).some((limitMs) => limitMs > 500_000),
      file,
    )
})

t.test(
  'levels that run together have the time of the slowest, and run as few at once as the most careful',
  async (t) => {
    t.match(runOf(['unit']), { jobs: { least: 3 }, seconds: 120 })
    t.match(runOf(['unit', 'contract', 'integration']), { jobs: { least: 3 }, seconds: 120 })
    t.match(runOf(['unit', 'fuzz']), { jobs: { least: 2 }, seconds: 600 })
    t.match(runOf(['cluster', 'netns', 'interop']), { jobs: { least: 2 }, seconds: 600 })
    t.match(runOf(['unit', 'netns']), { jobs: { least: 2 }, seconds: 600 })
    t.match(runOf(['nodes', 'conformance']), { jobs: { least: 1, most: 1 }, seconds: 900 })
    t.match(runOf(['netns', 'peer']), { jobs: { least: 1, most: 1 }, seconds: 600 })
    t.match(runOf(['soak']), { jobs: { least: 1, most: 1 }, seconds: 2700 })
    t.same(runOf(['unit', 'soak']).globs.slice(-1), ['test/soak/**/*.ts'])
  },
)
