// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { type HttpMatchSchema, HttpRoutesSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { canonicalTarget } from '../../../waypoint/decide/canonical-path.ts'
import { type Caller, RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import { HttpRouteTable } from '../../../waypoint/decide/route-match.ts'

type Match = Extract<MessageInitShape<typeof HttpMatchSchema>, { readonly $typeName?: never }>

/** One rule per match, named by its place. */
function tableOf(matches: readonly Match[]): HttpRouteTable {
  return new HttpRouteTable(
    create(HttpRoutesSchema, {
      rules: matches.map((_, index) => ({ origin: { rule: String(index) } })),
      entries: matches.map((match, rule) => ({ match, rule })),
    }),
  )
}

const NOBODY: Caller = { namespace: '', labels: {} }

function request(
  path: string,
  headers: readonly string[] = [],
  method = 'GET',
  caller = NOBODY,
): RequestFacts {
  const target = canonicalTarget(path)
  if (target.kind === 'refusal') throw new Error(target.detail)
  const pseudo = [':method', method, ':scheme', 'http', ':authority', 'Cart.shop:8080', ':path', path]
  return new RequestFacts([...pseudo, ...headers], target, caller)
}

const found = (table: HttpRouteTable, of: RequestFacts): string | null =>
  table.find(of)?.rule.origin?.rule ?? null
const exact = (value: string): Match => ({ path: { kind: { case: 'exact', value } } })
const prefix = (value: string): Match => ({ path: { kind: { case: 'prefix', value } } })
/** Of characters, not of segments. */
const start = (value: string): Match => ({ path: { kind: { case: 'characterPrefix', value } } })
const header = (name: string, value: string): Match => ({
  headers: [{ name, kind: { case: 'exact', value } }],
})

t.test('each condition is true of what it names', async (t) => {
  const cases: ReadonlyArray<
    readonly [what: string, match: Match, hits: RequestFacts[], misses: RequestFacts[]]
  > = [
    ['nothing', {}, [request('/'), request('/a?b')], []],
    [
      'exact',
      exact('/v2'),
      [request('/v2'), request('/v2?a=b')],
      [request('/v2/'), request('/v'), request('/V2')],
    ],
    [
      'prefix',
      prefix('/v2'),
      [request('/v2'), request('/v2/'), request('/v2/a/b')],
      [request('/v2example'), request('/')],
    ],
    ['prefix with a slash', prefix('/v2/'), [request('/v2'), request('/v2/a')], [request('/v2a')]],
    ['root', prefix('/'), [request('/'), request('/a/b')], []],
    [
      'characters',
      { path: { kind: { case: 'characterPrefix', value: '/v2' } } },
      [request('/v2example'), request('/v2')],
      [request('/v')],
    ],
    [
      'case',
      { path: { kind: { case: 'prefix', value: '/Login' }, ignoresCase: true } },
      [request('/login'), request('/LOGIN/a')],
      [request('/loginx')],
    ],
    [
      'regex',
      { path: { kind: { case: 'regex', value: '/items/[0-9]+' } } },
      [request('/items/12')],
      [request('/items/12/x'), request('/x/items/12')],
    ],
    ['no regex', { path: { kind: { case: 'regex', value: '(' } } }, [], [request('/'), request('/(')]],
    [
      'gRPC',
      { path: { kind: { case: 'grpc', value: { service: 'shop.Cart', method: '' } } } },
      [request('/shop.Cart/Add')],
      [request('/shop.Carts/Add'), request('/shop.Cart'), request('/shop.Cart/Add/x')],
    ],
    ['method', { method: 'POST' }, [request('/', [], 'POST')], [request('/'), request('/', [], 'post')]],
    [
      'header',
      header('version', 'two'),
      [request('/', ['version', 'two'])],
      [request('/'), request('/', ['version', 'one']), request('/', ['version', 'one', 'version', 'two'])],
    ],
    ['scheme, as a field', header(':scheme', 'http'), [request('/')], []],
    ['authority, as a field', header(':authority', 'cart.shop'), [], [request('/')]],
    [
      'a header that is there',
      { headers: [{ name: 'a', kind: { case: 'present', value: true } }] },
      [request('/', ['a', ''])],
      [request('/')],
    ],
    [
      'without a header',
      { withoutHeaders: [{ name: 'a', kind: { case: 'prefix', value: 'x' } }] },
      [request('/'), request('/', ['a', 'y'])],
      [request('/', ['a', 'xy'])],
    ],
    [
      'query',
      { query: [{ name: 'animal', kind: { case: 'exact', value: 'great whale' } }] },
      [request('/?animal=great+whale'), request('/?b&animal=great%20whale&animal=x')],
      [request('/'), request('/?animal=x&animal=great+whale'), request('/?Animal=great+whale')],
    ],
    [
      'caller',
      { sourceNamespace: 'shop', sourceLabels: { app: 'front' } },
      [request('/', [], 'GET', { namespace: 'shop', labels: { app: 'front', v: '1' } })],
      [request('/'), request('/', [], 'GET', { namespace: 'shop', labels: {} })],
    ],
  ]
  for (const [what, match, hits, misses] of cases) {
    const table = tableOf([match])
    for (const each of hits) t.equal(found(table, each), '0', `${what}: ${each.path}${each.query}`)
    for (const each of misses) t.equal(found(table, each), null, `not ${what}: ${each.path}${each.query}`)
  }
})

t.test('a prefix says how much of the path it took', async (t) => {
  const prefixOf = (match: Match, path: string) => tableOf([match]).find(request(path))?.prefix
  t.same(prefixOf(prefix('/a/b/'), '/a/b/c'), { length: 4, isOfSegments: true })
  t.same(prefixOf(prefix('/'), '/a'), { length: 0, isOfSegments: true })
  t.same(prefixOf(start('/a/'), '/a/b'), { length: 3, isOfSegments: false })
  t.equal(prefixOf(exact('/a'), '/a'), null)
})

t.test('whatever the entries, the first that matches is found', async () => {
  const segment = fc.constantFrom('a', 'b', 'A')
  const path = fc.array(segment, { maxLength: 3 }).map((parts) => `/${parts.join('/')}`)
  const pathMatch = fc.oneof(
    path.map(exact),
    path.map(prefix),
    path.map((value): Match => ({ path: { kind: { case: 'prefix', value }, ignoresCase: true } })),
    path.map(start),
    fc.constant<Match>({}),
  )
  const match = fc
    .tuple(pathMatch, fc.constantFrom<Match>({}, { method: 'POST' }, header('h', '1'), header('h', '2')))
    .map(([left, right]): Match => ({ ...left, ...right }))
  const asked = fc.tuple(path, fc.constantFrom('GET', 'POST'), fc.constantFrom([], ['h', '1'], ['h', '2']))
  fc.assert(
    fc.property(
      fc.array(match, { maxLength: 12 }),
      fc.array(asked, { maxLength: 8 }),
      (matches, requests) => {
        const table = tableOf(matches)
        const alone = matches.map((each) => tableOf([each]))
        return requests.every(([target, method, headers]) => {
          const of = request(target, headers, method)
          const first = alone.findIndex((each) => each.find(of) !== null)
          return found(table, of) === (first < 0 ? null : String(first))
        })
      },
    ),
    { numRuns: 1000 },
  )
})

t.test('a thousand routes cost what one does', async (t) => {
  const table = tableOf(
    Array.from({ length: 1000 }, (_, index) => ([prefix, exact, start][index % 3] ?? start)(`/r${index}/`)),
  )
  t.equal(found(table, request('/r999/x/y')), '999')
  t.equal(found(table, request('/r502/')), '502')
  t.equal(found(table, request('/r503/')), '503')
  t.equal(found(table, request('/r503')), null)
  t.equal(table.askedCount, 3)
})

t.test('prefixes of more lengths than are looked up are found too, in their order', async (t) => {
  const table = tableOf(Array.from({ length: 60 }, (_, index) => start(`/${'a'.repeat(60 - index)}`)))
  for (const length of [1, 30, 43, 44, 45, 46, 60])
    t.equal(found(table, request(`/${'a'.repeat(length)}`)), String(60 - length))
})
