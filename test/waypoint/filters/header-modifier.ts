// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { CompiledHeaders } from '../../../waypoint/filters/header-modifier.ts'

type Pairs = readonly (readonly [string, string])[]
const modifier = (of: { set?: Pairs; add?: Pairs; remove?: readonly string[] }): CompiledHeaders => {
  const values = (pairs: Pairs = []) => pairs.map(([name, value]) => ({ name, value }))
  return new CompiledHeaders({ set: values(of.set), add: values(of.add), remove: [...(of.remove ?? [])] })
}

t.test('set replaces, add joins, remove takes away; case says nothing', async (t) => {
  const headers = [':method', 'GET', ':authority', 'cart', 'a', '1', 'a', '2', 'b', '3']
  const cases: ReadonlyArray<readonly [string, CompiledHeaders, readonly string[]]> = [
    ['nothing', modifier({}), headers],
    ['set', modifier({ set: [['A', 'x']] }), [':method', 'GET', ':authority', 'cart', 'b', '3', 'a', 'x']],
    ['set what is not there', modifier({ set: [['c', 'x']] }), [...headers, 'c', 'x']],
    ['add', modifier({ add: [['B', 'x']] }), [...headers, 'b', 'x']],
    ['remove', modifier({ remove: ['A', 'c'] }), [':method', 'GET', ':authority', 'cart', 'b', '3']],
    [
      'host',
      modifier({ set: [['Host', 'other']] }),
      [':method', 'GET', ':authority', 'other', 'a', '1', 'a', '2', 'b', '3'],
    ],
  ]
  for (const [what, compiled, wanted] of cases) t.same(compiled.apply(headers), wanted, what)
})

t.test('what frames a message is nobody’s to change', async () => {
  const framing = ['content-length', 'Transfer-Encoding', ':path', 'connection', 'te']
  const name = fc.constantFrom('a', 'B', ...framing)
  const pairs = fc.array(fc.tuple(name, fc.constant('x')), { maxLength: 4 })
  const headers = [':method', 'GET', ':path', '/', 'content-length', '3', 'te', 'trailers', 'a', '1']
  const framesOf = (list: readonly string[]): string[] =>
    list.flatMap((each, i) =>
      i % 2 === 0 && /^:|^(content-length|te|transfer|connection)/.test(each)
        ? [each, list[i + 1] ?? '']
        : [],
    )
  fc.assert(
    fc.property(pairs, pairs, fc.array(name), (set, add, remove) => {
      const result = modifier({ set, add, remove }).apply(headers)
      return JSON.stringify(framesOf(result)) === JSON.stringify(framesOf(headers))
    }),
  )
})
