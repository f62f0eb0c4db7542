// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { AuthzConnection } from '../../../mesh/authz/connection.ts'
import { CompiledMatch, isEmptyMatch, StringSet } from '../../../mesh/authz/match.ts'
import { EMPTY_MATCH, type Match } from '../../../mesh/model/policy.ts'

const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }

t.test('strings match exactly, by prefix, by suffix or by being there', async (t) => {
  t.ok(new StringSet([{ kind: 'exact', value: 'a' }]).has('a'))
  t.notOk(new StringSet([{ kind: 'exact', value: 'a' }]).has('A'))
  t.ok(new StringSet([{ kind: 'prefix', value: 'ab' }]).has('abc'))
  t.notOk(new StringSet([{ kind: 'prefix', value: 'ab' }]).has('cab'))
  t.ok(new StringSet([{ kind: 'suffix', value: 'ab' }]).has('cab'))
  t.notOk(new StringSet([{ kind: 'suffix', value: 'ab' }]).has('abc'))
  t.ok(new StringSet([{ kind: 'presence' }]).has('x'))
  t.notOk(new StringSet([{ kind: 'presence' }]).has(''))
})

t.test('each attribute alone, positive and negative', async (t) => {
  const connection = new AuthzConnection('10.0.0.1', CART, 'fd00::9', 80)
  const table: [keyof Match, Partial<Match>, Partial<Match>][] = [
    [
      'principals',
      { principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/cart' }] },
      { principals: [{ kind: 'prefix', value: 'spiffe://' }] },
    ],
    [
      'namespaces',
      { namespaces: [{ kind: 'exact', value: 'shop' }] },
      { namespaces: [{ kind: 'exact', value: 'pay' }] },
    ],
    [
      'serviceAccounts',
      { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'cart' }] },
      { serviceAccounts: [{ namespace: 'pay', serviceAccount: 'cart' }] },
    ],
    ['sourceIps', { sourceIps: ['10.0.0.0/8'] }, { sourceIps: ['fd00::/8'] }],
    ['destinationIps', { destinationIps: ['fd00::/8'] }, { destinationIps: ['0.0.0.0/0'] }],
    ['destinationPorts', { destinationPorts: [1, 80] }, { destinationPorts: [8080] }],
  ]
  for (const [field, hit, miss] of table) {
    const negated = `not${field[0]?.toUpperCase()}${field.slice(1)}`
    t.ok(new CompiledMatch({ ...EMPTY_MATCH, ...hit }).matches(connection), `${field} hit`)
    t.notOk(new CompiledMatch({ ...EMPTY_MATCH, ...miss }).matches(connection), `${field} miss`)
    t.notOk(
      new CompiledMatch({ ...EMPTY_MATCH, [negated]: hit[field] }).matches(connection),
      `${negated} hit`,
    )
    t.ok(new CompiledMatch({ ...EMPTY_MATCH, [negated]: miss[field] }).matches(connection), `${negated} miss`)
  }
  const bad = new CompiledMatch({ ...EMPTY_MATCH, sourceIps: ['nonsense'] })
  t.notOk(bad.matches(connection), 'an unreadable prefix never widens a rule')
  t.ok(isEmptyMatch(EMPTY_MATCH))
})
