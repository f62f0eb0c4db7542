// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { TokenRuleSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { RequestTokens } from '../../../waypoint/decide/request-tokens.ts'

type Init = Exclude<MessageInitShape<typeof TokenRuleSchema>, { readonly $typeName: string }>
const ruleOf = (init: Init = {}) => create(TokenRuleSchema, { issuer: 'i', ...init })
const TOKEN = 'h.cGF5bG9hZA.s'

t.test('tokens are looked for where the rules say, else where everybody puts them', async (t) => {
  const table: readonly (readonly [Init, string[], string, string[]])[] = [
    [{}, ['authorization', 'Bearer a'], '', ['a']],
    [{}, ['authorization', 'bearer a'], '?access_token=b', ['a', 'b']],
    [{}, ['authorization', 'Basic a', 'x', 'Bearer c'], '', []],
    [{}, ['authorization', 'Bearer '], '?access_token', []],
    [
      { fromHeaders: [{ name: 'x-t', prefix: 'T ' }] },
      ['x-t', 'T a', 'x-t', 'U b', 'authorization', 'Bearer c'],
      '',
      ['a'],
    ],
    [{ fromHeaders: [{ name: 'x-t', prefix: '' }] }, ['x-t', 'a', 'x-t', 'b', 'x-t', 'a'], '', ['a', 'b']],
    [{ fromParams: ['t'] }, [], '?x=1&t=a%2Eb&t=c', ['a.b', 'c']],
    [{ fromCookies: ['s'] }, ['cookie', 'a=b; s=c.d; ss=e', 'cookie', 's=f'], '', ['c.d', 'f']],
  ]
  for (const [init, headers, query, wanted] of table) {
    const found = new RequestTokens([ruleOf(init)]).find({ headers, query })
    t.same(
      found.map(({ text }) => text),
      wanted,
      JSON.stringify([init, headers, query]),
    )
  }
})

t.test('a text that stands where several rules look has all of them', async (t) => {
  const rules = [ruleOf({ issuer: 'a' }), ruleOf({ issuer: 'b' }), ruleOf({ fromParams: ['p'] })]
  const found = new RequestTokens(rules).find({ headers: ['authorization', 'Bearer x'], query: '?p=y' })
  t.same(
    found.map(({ text, rules: each }) => [text, each.length]),
    [
      ['x', 2],
      ['y', 1],
    ],
  )
})

t.test('a believed token is taken away, unless it is to be forwarded', async (t) => {
  const request = {
    headers: [
      'a',
      '1',
      'authorization',
      `Bearer ${TOKEN}`,
      'cookie',
      `x=1; s=${TOKEN}`,
      'cookie',
      `s=${TOKEN}`,
    ],
    query: `?a=b&access_token=${TOKEN}&t=${TOKEN}`,
  }
  const table: readonly (readonly [Init, string[], string])[] = [
    [{}, ['a', '1', ...request.headers.slice(4)], `?a=b&t=${TOKEN}`],
    [{ forwardsToken: true }, request.headers, request.query],
    [{ fromCookies: ['s'] }, [...request.headers.slice(0, 4), 'cookie', 'x=1'], request.query],
    [{ fromParams: ['t'] }, request.headers, `?a=b&access_token=${TOKEN}`],
  ]
  for (const [init, headers, query] of table) {
    const rule = ruleOf(init)
    const left = new RequestTokens([rule]).apply(request, { text: TOKEN, rule, claims: {} })
    t.same([left.headers, left.query], [headers, query], JSON.stringify(init))
  }
})

t.test('claims become fields, and nobody else can write those', async (t) => {
  const rule = ruleOf({
    outputPayloadToHeader: 'x-payload',
    outputClaimToHeaders: [
      { header: 'x-role', path: ['realm', 'role'] },
      { header: 'x-level', path: ['level'] },
      { header: 'x-list', path: ['list'] },
      { header: 'x-odd', path: ['odd'] },
      { header: 'x-none', path: ['none'] },
    ],
  })
  const tokens = new RequestTokens([rule])
  const forged = { headers: ['x-role', 'admin', 'a', 'x-role', 'x-payload', 'p'], query: '' }
  t.same(tokens.apply(forged, null), { headers: ['a', 'x-role'], query: '' })
  const claims = { realm: { role: 'user' }, level: 3, list: ['a'], odd: 'a\r\nb: c', none: null }
  const { headers } = tokens.apply(forged, { text: TOKEN, rule, claims })
  t.same(headers, [
    ...['a', 'x-role', 'x-payload', 'cGF5bG9hZA', 'x-role', 'user', 'x-level', '3'],
    ...['x-list', Buffer.from('["a"]').toString('base64url')],
    ...['x-odd', Buffer.from('a\r\nb: c').toString('base64url')],
  ])
})
