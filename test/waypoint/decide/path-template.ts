// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { compilePathTemplate } from '../../../waypoint/decide/path-template.ts'

t.test('templates match whole segments, and the rest of a path where they say so', async (t) => {
  const table: Readonly<Record<string, Readonly<Record<string, boolean>>>> = {
    '/a/{*}': { '/a/b': true, '/a/': false, '/a': false, '/a/b/': false, '/a/b/c': false },
    '/{*}/b/{*}': { '/x/b/y': true, '//b/y': false, '/x/c/y': false },
    '/a/{**}': { '/a/': true, '/a/b/c': true, '/a': false, '/b/': false },
    '/a/{**}/z': { '/a//z': true, '/a/b/c/z': true, '/a/z': false, '/a/b/z/': false },
    '/{**}': { '/': true, '/x/y': true },
    '/{*}/{**}/z': { '/a/b/z': true, '/a/z': false, '/a//z': true },
  }
  for (const [template, paths] of Object.entries(table)) {
    const matches = compilePathTemplate(template)
    for (const [path, wanted] of Object.entries(paths)) t.equal(matches(path), wanted, `${template} ${path}`)
  }
})

t.test('a long path costs its length', async (t) => {
  const matches = compilePathTemplate(`/${'{*}/'.repeat(50)}{**}/z`)
  const path = '/a'.repeat(30_000)
  const start = process.cpuUsage()
  for (let i = 0; i < 100; i++) t.equal(matches(path), false)
  t.ok(process.cpuUsage(start).user < 1_000_000)
})
