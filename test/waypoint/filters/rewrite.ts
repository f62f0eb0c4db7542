// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { RewriteSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import { CompiledRewrite } from '../../../waypoint/filters/rewrite.ts'

const HEADERS = [
  ':method',
  'GET',
  ':authority',
  'cart',
  ':path',
  '/a//b/../c?d',
  'x-forwarded-host',
  'forged',
]
const request = new RequestFacts(HEADERS, { path: '/a//c', query: '?d' }, { namespace: '', labels: {} })
const rewritten = (filter: MessageInitShape<typeof RewriteSchema>) =>
  new CompiledRewrite(create(RewriteSchema, filter)).apply(HEADERS, request, {
    length: 2,
    isOfSegments: true,
  })

t.test('host and path, each alone or both', async (t) => {
  t.same(rewritten({}), HEADERS)
  t.same(rewritten({ host: 'other' }), [
    ...[':method', 'GET', ':authority', 'other', ':path', '/a//b/../c?d'],
    ...['x-forwarded-host', 'cart'],
  ])
  t.same(rewritten({ path: { kind: { case: 'prefix', value: '/x' } } }), [
    ...[':method', 'GET', ':authority', 'cart', ':path', '/x//c?d', 'x-forwarded-host', 'forged'],
  ])
})
