// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { canonicalTarget } from '../../../waypoint/decide/canonical-path.ts'

const pathOf = (target: string): string => {
  const found = canonicalTarget(target)
  return found.kind === 'refusal' ? `${found.code}: ${found.detail}` : `${found.path}${found.query}`
}

t.test('each path has one spelling', async (t) => {
  const cases: ReadonlyArray<readonly [string, string]> = [
    ['/', '/'],
    ['/a/b?c=/../d', '/a/b?c=/../d'],
    ['/a/./b', '/a/b'],
    ['/a/../b', '/b'],
    ['/a/..', '/'],
    ['/a/.', '/a/'],
    ['/../../etc', '/etc'],
    ['/a/%2e%2E/b', '/b'],
    ['/a\\..\\b', '/b'],
    ['/%61dmin', '/admin'],
    ['/a%2fb', '/a%2Fb'],
    ['/a%5cb', '/a%5Cb'],
    ['/a//b', '/a//b'],
    ['/...', '/...'],
    ['/a/.b', '/a/.b'],
    ['/%E4%BD%a0', '/%E4%BD%A0'],
  ]
  for (const [target, wanted] of cases) t.equal(pathOf(target), wanted, target)
})

t.test('what has none is refused', async (t) => {
  for (const target of ['', 'a', '*', '/a%', '/a%2', '/a%zz', '/a%00b', '/a#b'])
    t.match(pathOf(target), /^PATH_AMBIGUOUS: /, target)
})

t.test('the spelling of a spelling is itself, and has no dots left', async () => {
  const part = fc.constantFrom('a', '.', '..', '%2e', '%2E%2e', '%41', '%2f', '\\', '', 'b%20', '~')
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const once = pathOf(`/${parts.join('/')}`)
      return pathOf(once) === once && !/\/\.{1,2}(?:\/|$)/.test(once) && once.startsWith('/')
    }),
    { numRuns: 2000 },
  )
})
