// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { PathModifierSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import type { MatchedPrefix } from '../../../waypoint/decide/route-match.ts'
import { compilePathModifier } from '../../../waypoint/filters/path-modifier.ts'

type Kind = NonNullable<Extract<MessageInitShape<typeof PathModifierSchema>, { kind?: unknown }>['kind']>

const modified = (kind: Kind, path: string, prefix: MatchedPrefix | null = null): string | undefined =>
  compilePathModifier(create(PathModifierSchema, { kind }))?.(path, prefix)

t.test('a prefix of segments is replaced as the API’s table says', async (t) => {
  const cases = [
    ['/foo/bar', 4, '/xyz', '/xyz/bar'],
    ['/foo/bar', 4, '/xyz/', '/xyz/bar'],
    ['/foo', 4, '/xyz', '/xyz'],
    ['/foo/', 4, '/xyz', '/xyz/'],
    ['/foo/bar', 4, '', '/bar'],
    ['/foo/', 4, '', '/'],
    ['/foo', 4, '', '/'],
    ['/foo/', 4, '/', '/'],
    ['/foo', 4, '/', '/'],
    ['/foo', 0, '/v1', '/v1/foo'],
  ] as const
  for (const [path, length, value, wanted] of cases)
    t.equal(
      modified({ case: 'prefix', value }, path, { length, isOfSegments: true }),
      wanted,
      `${path} ${value}`,
    )
})

t.test('a prefix of characters is replaced as it is written', async (t) => {
  const prefix = { length: 5, isOfSegments: false }
  t.equal(modified({ case: 'prefix', value: '/' }, '/api/items', prefix), '/items')
  t.equal(modified({ case: 'prefix', value: '/v2/' }, '/api/items', prefix), '/v2/items')
  t.equal(modified({ case: 'prefix', value: '/v2' }, '/api/items'), '/api/items', 'nothing was matched')
})

t.test('a whole path, and what an expression finds', async (t) => {
  t.equal(modified({ case: 'full', value: '/one' }, '/a/b'), '/one')
  const regex = (pattern: string, replacement: string, path: string) =>
    modified({ case: 'regex', value: { pattern, replacement } }, path)
  t.equal(regex('/user/([^/]+)/(.*)', '/\\2/of/\\1', '/user/ada/cart'), '/cart/of/ada')
  t.equal(regex('a', 'b', '/aa'), '/bb')
  t.equal(regex('/a', '\\9\\\\', '/a'), '/\\', 'a group that is none is empty')
  t.equal(regex('x*', '-', '/'), '/-/-', 'what is empty is found too')
  t.equal(regex('(', 'b', '/aa'), undefined)
  t.equal(compilePathModifier(undefined), null)
})
