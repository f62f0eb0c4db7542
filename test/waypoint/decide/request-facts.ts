// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'

const CALLER = { namespace: '', labels: {} }
const factsOf = (headers: readonly string[], query = ''): RequestFacts =>
  new RequestFacts(headers, { path: '/', query }, CALLER)

t.test('the host has no port and no capitals', async (t) => {
  const hosts = [
    ['Cart:80', 'cart'],
    ['cart', 'cart'],
    ['[2001:DB8::1]:80', '[2001:db8::1]'],
    ['[::1]', '[::1]'],
    ['', ''],
  ]
  for (const [authority = '', host] of hosts)
    t.equal(factsOf([':authority', authority]).host, host, authority)
})

t.test('a field that comes twice is one list', async (t) => {
  const facts = factsOf([':method', 'GET', 'a', '1', 'b', '2', 'a', '3'])
  t.equal(facts.header('a'), '1,3')
  t.equal(facts.header('c'), undefined)
  t.equal(facts.method, 'GET')
})

t.test('of a parameter that comes twice the first counts', async (t) => {
  const facts = factsOf([], '?a=1&a=2&b&c=%41%2&d=%26&=x&&e=a=b')
  t.same(
    ['a', 'b', 'c', 'd', '', 'e'].map((name) => facts.parameter(name)),
    ['1', '', '%41%2', '&', undefined, 'a=b'],
  )
})

t.test('parameters are read as the platform reads them, whatever they hold', async () => {
  const pair = fc.tuple(fc.string({ minLength: 1, unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 8 }), (pairs) => {
      const query = new URLSearchParams(pairs)
      const facts = factsOf([], `?${query}`)
      return pairs.every(([name]) => facts.parameter(name.toWellFormed()) === query.get(name.toWellFormed()))
    }),
  )
})
