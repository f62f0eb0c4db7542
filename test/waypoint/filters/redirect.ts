// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { RedirectSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import { CompiledRedirect } from '../../../waypoint/filters/redirect.ts'

const request = new RequestFacts(
  [':method', 'GET', ':scheme', 'http', ':authority', 'cart:8080', ':path', '/a/b?c'],
  { path: '/a/b', query: '?c' },
  { namespace: '', labels: {} },
)

const told = (filter: MessageInitShape<typeof RedirectSchema>, port = 8080): string => {
  const { status, location } = new CompiledRedirect(create(RedirectSchema, filter)).answer(
    ...([request, { length: 2, isOfSegments: true }, port] as const),
  )
  return `${status} ${location}`
}

t.test('what is not said stays as the client asked', async (t) => {
  t.equal(told({}), '302 http://cart:8080/a/b?c')
  t.equal(told({ status: 301 }, 80), '301 http://cart/a/b?c')
  t.equal(told({ host: 'example.org' }), '302 http://example.org:8080/a/b?c')
  t.equal(told({ host: 'example.org' }, 80), '302 http://example.org/a/b?c')
})

t.test('a scheme brings its port, a port stands unless the scheme implies it', async (t) => {
  t.equal(told({ scheme: 'https' }), '302 https://cart/a/b?c')
  t.equal(told({ scheme: 'https', port: 8443 }), '302 https://cart:8443/a/b?c')
  t.equal(told({ scheme: 'http', port: 80 }), '302 http://cart/a/b?c')
  t.equal(told({ port: 443 }), '302 http://cart:443/a/b?c')
})

t.test('the path may change', async (t) => {
  t.equal(told({ path: { kind: { case: 'prefix', value: '/x' } } }, 80), '302 http://cart/x/b?c')
  t.equal(told({ path: { kind: { case: 'full', value: '/y' } } }, 80), '302 http://cart/y?c')
})
