// SPDX-License-Identifier: Apache-2.0
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import t from 'tap'
import { compileCacheDirectory, warmCompileCache } from '../../../mesh/generations/compile-cache.ts'

const logged: Readonly<Record<string, unknown>>[] = []
const log = pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) })

t.beforeEach(() => {
  logged.length = 0
})

t.test('the cache is beside the admin socket', async (t) => {
  t.match(
    compileCacheDirectory('/run/sidestep/admin.sock', 'ztunnel'),
    /^\/run\/sidestep\/compile-cache-[0-9a-f]{16}$/,
  )
})

t.test('all that is loaded only where it is wanted is in it, too', async (t) => {
  const root = fileURLToPath(new URL('../../../', import.meta.url))
  const warmUp = join(root, 'ztunnel/warm-up.ts')
  const importsOf = (path: string, pattern: RegExp): string[] =>
    [...readFileSync(path, 'utf8').matchAll(pattern)].map(([, name = '']) => resolve(dirname(path), name))
  const reached = new Set<string>()
  for (const queue = [warmUp]; queue.length > 0; ) {
    const path = queue.pop() ?? ''
    if (reached.has(path)) continue
    reached.add(path)
    queue.push(...importsOf(path, /^(?:import|export|\} from)(?! type)[^'\n]*'(\.[^']+\.ts)'/gm))
  }
  t.ok(reached.size > 100, `${reached.size} files`)
  const wanted = [...reached].flatMap((path) => importsOf(path, /import\('(\.[^']+)'\)/g))
  t.ok(wanted.length > 5)
  t.same(
    wanted.filter((path) => !reached.has(path)),
    [],
  )
})

t.test('a new cache is filled with the code of the data process, for us alone', async (t) => {
  const directory = join(t.testdir(), 'deep', 'compile-cache')
  t.equal(await warmCompileCache(directory, 'ztunnel', log), true)
  t.equal(statSync(directory).mode & 0o777, 0o700)
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  const count = entries.filter((entry) => entry.isFile()).length
  t.ok(count > 100, `${count} files`)
  t.same(logged, [])
})

t.test('a cache that is there is taken as it is', async (t) => {
  const directory = join(t.testdir(), 'compile-cache')
  mkdirSync(directory, { mode: 0o700 })
  t.equal(await warmCompileCache(directory, 'ztunnel', log), true)
  t.same(readdirSync(directory), [])
})

t.test('what others may write is never run', async (t) => {
  const parent = t.testdir()
  for (const [name, mode] of [
    ['group', 0o770],
    ['everybody', 0o707],
  ] as const) {
    mkdirSync(join(parent, name))
    chmodSync(join(parent, name), mode)
  }
  mkdirSync(join(parent, 'real'), { mode: 0o700 })
  symlinkSync('real', join(parent, 'link'))
  writeFileSync(join(parent, 'file'), '')
  for (const name of ['group', 'everybody', 'link', 'file']) {
    t.equal(await warmCompileCache(join(parent, name), 'ztunnel', log), false, name)
    t.match(logged.at(-1), { level: 40, directory: join(parent, name) })
  }
})

t.test('a place where nothing can be made is done without', async (t) => {
  const file = join(t.testdir({ file: '' }), 'file')
  t.equal(await warmCompileCache(join(file, 'compile-cache'), 'ztunnel', log), false)
  t.match(logged, [{ level: 40, err: { code: 'ENOTDIR' } }])
})
