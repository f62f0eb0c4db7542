// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { compareEntries, type RankedEntry } from '../../../../controller/translate/routes/precedence.ts'
import { serviceRoutes } from '../../../../controller/translate/routes/service-routes.ts'
import { countingClaims, MESH, orderOf, routeYaml } from '../../../support/route-yaml.ts'
import { translateYaml } from '../../../support/translated.ts'

/** Matches in the order in which the API asks them, each before the next. */
const LADDER = [
  '{ path: { type: Exact, value: /a } }',
  '{ path: { type: PathPrefix, value: /a/longer } }',
  '{ path: { type: PathPrefix, value: /a }, method: GET, headers: [{ name: x, value: a }] }',
  '{ path: { type: PathPrefix, value: /a }, method: GET }',
  '{ path: { type: PathPrefix, value: /a }, headers: [{ name: x, value: a }, { name: y, value: b }] }',
  '{ path: { type: PathPrefix, value: /a }, headers: [{ name: x, value: a }], queryParams: [{ name: q, value: a }] }',
  '{ path: { type: PathPrefix, value: /a }, headers: [{ name: x, value: a }] }',
  '{ path: { type: PathPrefix, value: /a }, queryParams: [{ name: q, value: a }] }',
  '{ path: { type: PathPrefix, value: /a } }',
  '{ method: GET }',
  '{ headers: [{ name: x, value: a }] }',
  '{}',
]

t.test('the more specific match comes first, wherever it is written', async (t) => {
  const wanted = LADDER.map((_, index) => `r${String(index).padStart(2, '0')}`)
  fc.assert(
    fc.property(fc.shuffledSubarray([...LADDER.keys()], { minLength: LADDER.length }), (order) => {
      const routes = order.map((index, age) =>
        routeYaml(wanted[index] ?? '', { matches: [LADDER[index] ?? ''], day: (age * 7) % 28 }),
      )
      t.same(
        orderOf(translateYaml([MESH, ...routes].join('---\n'))),
        wanted.map((name) => `${name}:0`),
      )
    }),
    { numRuns: 50 },
  )
})

t.test('among equal matches the oldest route is first, then its name, then its place', async (t) => {
  const routes = [
    routeYaml('b', { matches: ['{}', '{}'], day: 2 }),
    routeYaml('a', { matches: ['{}'], day: 2 }),
    routeYaml('z', { matches: ['{}'], day: 1 }),
  ]
  t.same(orderOf(translateYaml([MESH, ...routes].join('---\n'))), ['z:0', 'a:0', 'b:0', 'b:1'])
})

const ranked = fc.record({
  rank: fc.array(fc.nat(2), { minLength: 3, maxLength: 3 }),
  route: fc.nat(3),
  order: fc.nat(3),
})
const entryOf = ({ rank, route, order }: { rank: number[]; route: number; order: number }): RankedEntry => ({
  entry: { match: {}, rule: 0, rank, port: 0 },
  route,
  order,
})

t.test(
  'the order is total: any permutation sorts to the same, and only a match itself equals it',
  async (t) => {
    const unique = fc.uniqueArray(ranked, {
      selector: ({ route, order }) => `${route}/${order}`,
      maxLength: 16,
    })
    fc.assert(
      fc.property(unique, fc.infiniteStream(fc.nat()), (items, noise) => {
        const entries = items.map(entryOf)
        const shuffled = entries
          .map((entry) => ({ entry, key: noise.next().value }))
          .toSorted((left, right) => left.key - right.key)
          .map(({ entry }) => entry)
        t.same(shuffled.toSorted(compareEntries), entries.toSorted(compareEntries))
        for (const left of entries)
          for (const right of entries) {
            t.equal(Math.sign(compareEntries(left, right)) + Math.sign(compareEntries(right, left)), 0)
            t.equal(compareEntries(left, right) === 0, left === right)
          }
      }),
      { numRuns: 100 },
    )
  },
)

t.test('ten thousand routes of one service cost in proportion, sorting aside', async (t) => {
  const readsOf = (count: number): number => {
    const { claims, info, reads } = countingClaims(count)
    t.equal(serviceRoutes(info, claims).message?.ports[0]?.lists.length, 1)
    return reads()
  }
  const [few, many] = [readsOf(1_000), readsOf(10_000)]
  t.ok(many < few * 20, `${few} reads of ranks for a thousand, ${many} for ten thousand`)
})
