// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { HttpRuleSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import { compileRule } from '../../../waypoint/filters/compiled-rule.ts'

const headers = [':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/a/b', 'x-old', '1']
const request = new RequestFacts(headers, { path: '/a/b', query: '' }, { namespace: '', labels: {} })

t.test('filters act in the order in which they are written, those of the backend last', async (t) => {
  const rule = create(HttpRuleSchema, {
    filters: [
      {
        kind: { case: 'requestHeaders', value: { set: [{ name: 'X-A', value: 'rule' }], remove: ['x-old'] } },
      },
      { kind: { case: 'rewrite', value: { path: { kind: { case: 'prefix', value: '/new' } } } } },
      { kind: { case: 'responseHeaders', value: { add: [{ name: 'x-b', value: 'rule' }] } } },
      { kind: { case: 'mirror', value: { backend: { service: 'shop/m' }, millionths: 1 } } },
    ],
    backends: [
      {
        weight: 1,
        filters: [{ kind: { case: 'requestHeaders', value: { set: [{ name: 'x-a', value: 'backend' }] } } }],
      },
    ],
  })
  const compiled = compileRule(rule)
  t.equal(compileRule(rule), compiled, 'once')
  const prefix = { length: 2, isOfSegments: true }
  const changed = compiled.filters.changeRequest(headers, request, prefix)
  t.same(changed, [
    ...[':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/new/b', 'x-a', 'rule'],
  ])
  const [backend] = compiled.backends
  t.match(backend?.filters.changeRequest(changed, request, prefix).slice(-2), ['x-a', 'backend'])
  t.same(compiled.filters.changeAnswer([':status', '200'], request), [':status', '200', 'x-b', 'rule'])
  t.same(
    compiled.filters.mirrors.map((each) => each.backend?.service),
    ['shop/m'],
  )
})
