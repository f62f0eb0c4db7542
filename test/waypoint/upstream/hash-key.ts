// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { HeaderList } from '../../../mesh/http/header-list.ts'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import { cookieValue, type HashFacts, hashKey } from '../../../waypoint/upstream/hash-key.ts'

function facts(headers: HeaderList, query = ''): HashFacts {
  const request = new RequestFacts(headers, { path: '/', query }, { namespace: '', labels: {} })
  return {
    headers,
    header: (name) => request.header(name),
    parameter: (name) => request.parameter(name),
    sourceIp: '10.1.2.3',
  }
}
const made = (): string => 'made'

t.test('keys from a header, a query parameter, the address', async (t) => {
  const header = { kind: 'header', name: 'x-user' } as const
  t.same(hashKey(header, facts(['x-user', 'ann', 'x-user', 'bob']), made), {
    key: 'ann,bob',
    setCookie: null,
  })
  t.same(hashKey(header, facts(['x-user', '']), made), { key: null, setCookie: null })
  t.same(hashKey(header, facts([]), made), { key: null, setCookie: null })
  t.equal(hashKey({ kind: 'query', name: 'u' }, facts([], '?a=1&u=ann'), made).key, 'ann')
  t.equal(hashKey({ kind: 'query', name: 'v' }, facts([], '?a=1&u=ann'), made).key, null)
  t.equal(hashKey({ kind: 'source-ip' }, facts([]), made).key, '10.1.2.3')
})

t.test('a cookie is the key; who has none gets one where the policy says for how long', async (t) => {
  const cookie = { kind: 'cookie', name: 'sid', path: '/shop', ttlSeconds: 60 } as const
  t.same(hashKey(cookie, facts(['cookie', 'a=1; sid=xyz']), made), { key: 'xyz', setCookie: null })
  t.same(hashKey(cookie, facts([]), made), {
    key: 'made',
    setCookie: 'sid="made"; Max-Age=60; Path=/shop; HttpOnly',
  })
  t.equal(hashKey({ ...cookie, path: '', ttlSeconds: 0 }, facts([]), made).setCookie, 'sid="made"; HttpOnly')
  t.same(hashKey({ ...cookie, ttlSeconds: null }, facts([]), made), { key: null, setCookie: null })
})

t.test('cookies as clients write them, whole or in crumbs', async (t) => {
  const cases: ReadonlyArray<readonly [HeaderList, string | undefined]> = [
    [['cookie', 'sid=1'], '1'],
    [['cookie', 'asid=2; sid=1; sid=3'], '1'],
    [['cookie', 'a=2', 'cookie', ' sid="1" '], '1'],
    [['cookie', 'sid="'], '"'],
    [['cookie', 'sid='], ''],
    [['cookie', 'sid'], undefined],
    [['cookie', 'SID=1'], undefined],
    [['cookie', 'sid =1'], undefined],
    [['cookie', ';;;=;'], undefined],
    [['x', 'sid=1'], undefined],
  ]
  for (const [headers, expected] of cases) t.equal(cookieValue(headers, 'sid'), expected, headers.join('|'))
})
