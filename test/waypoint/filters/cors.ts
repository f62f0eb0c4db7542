// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { CorsSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestFacts } from '../../../waypoint/decide/request-facts.ts'
import { CompiledCors } from '../../../waypoint/filters/cors.ts'

const cors = (filter: MessageInitShape<typeof CorsSchema>): CompiledCors =>
  new CompiledCors(create(CorsSchema, filter))
const request = (method: string, ...fields: string[]): RequestFacts =>
  new RequestFacts(
    [':method', method, ':scheme', 'http', ':authority', 'web', ':path', '/', ...fields],
    { path: '/', query: '' },
    { namespace: '', labels: {} },
  )
const asked = ['access-control-request-method', 'PUT', 'access-control-request-headers', 'x-a']
const fieldsOf = (headers: readonly string[] | null): Record<string, string> =>
  Object.fromEntries(
    (headers ?? []).flatMap((name, i) => (i % 2 === 0 ? [[name, headers?.[i + 1] ?? '']] : [])),
  )

t.test('a preflight of an origin that may is answered with leave', async (t) => {
  const filter = cors({
    ...{
      origins: ['https://a.example'],
      methods: ['GET', 'PUT'],
      requestHeaders: ['x-a'],
      allowsCredentials: true,
    },
    maxAge: { seconds: 60n, nanos: 0 },
  })
  t.same(fieldsOf(filter.preflight(request('OPTIONS', 'origin', 'https://a.example', ...asked))), {
    ':status': '200',
    'access-control-allow-origin': 'https://a.example',
    vary: 'origin',
    'access-control-allow-credentials': 'true',
    'access-control-allow-methods': 'GET, PUT',
    'access-control-allow-headers': 'x-a',
    'access-control-max-age': '60',
  })
})

t.test('one of a foreign origin is answered without leave', async (t) => {
  const filter = cors({ origins: ['https://a.example'], methods: ['GET'] })
  t.same(filter.preflight(request('OPTIONS', 'origin', 'https://b.example', ...asked)), [':status', '200'])
})

t.test('what is no preflight is the service’s', async (t) => {
  const filter = cors({ origins: ['*'] })
  t.equal(filter.preflight(request('OPTIONS', 'origin', 'https://a.example')), null)
  t.equal(filter.preflight(request('GET', 'origin', 'https://a.example', ...asked)), null)
  t.equal(filter.preflight(request('OPTIONS', ...asked)), null)
})

t.test('everything is allowed by a star, but with credentials it is said by name', async (t) => {
  const open = fieldsOf(
    cors({ origins: ['*'], methods: ['*'], requestHeaders: ['*'] }).preflight(
      request('OPTIONS', 'origin', 'https://a.example', ...asked),
    ),
  )
  t.match([open['access-control-allow-origin'], open.vary], ['*', undefined])
  t.match([open['access-control-allow-methods'], open['access-control-allow-headers']], ['PUT', 'x-a'])
  const named = fieldsOf(
    cors({ origins: ['*'], allowsCredentials: true }).apply(
      [':status', '200'],
      request('GET', 'origin', 'https://a.example'),
    ),
  )
  t.match([named['access-control-allow-origin'], named.vary], ['https://a.example', 'origin'])
})

t.test('an answer has our leave and nobody else’s', async (t) => {
  const filter = cors({
    origins: ['https://*.example'],
    exposedHeaders: ['x-b', '*'],
    allowsCredentials: true,
  })
  const answer = [':status', '200', 'access-control-allow-origin', 'https://evil', 'x-b', '1']
  t.same(filter.apply(answer, request('GET', 'origin', 'https://a.example')), [
    ...[':status', '200', 'x-b', '1', 'access-control-allow-origin', 'https://a.example', 'vary', 'origin'],
    ...['access-control-allow-credentials', 'true', 'access-control-expose-headers', 'x-b'],
  ])
  t.same(filter.apply(answer, request('GET', 'origin', 'https://evil')), [':status', '200', 'x-b', '1'])
  t.equal(filter.apply(answer, request('GET')), answer, 'who asks from nowhere else is not concerned')
})

t.test('origins', async (t) => {
  const table: readonly (readonly [allowed: string, origin: string, isAllowed: boolean])[] = [
    ['https://a.example', 'https://A.example', true],
    ['https://a.example', 'http://a.example', false],
    ['https://a.example', 'https://a.example:8443', false],
    ['https://*.a.example', 'https://x.a.example', true],
    ['https://*.a.example', 'https://x.y.a.example', true],
    ['https://*.a.example', 'https://.a.example', false],
    ['https://*.a.example', 'https://a.example', false],
  ]
  for (const [allowed, origin, isAllowed] of table) {
    const told = cors({ origins: [allowed] }).apply([':status', '200'], request('GET', 'origin', origin))
    t.equal(told.length > 2, isAllowed, `${origin} by ${allowed}`)
  }
  const regex = cors({
    originMatches: [{ name: '', kind: { case: 'regex', value: 'https://[ab]\\.example' } }],
  })
  t.equal(regex.apply([':status', '200'], request('GET', 'origin', 'https://b.example')).length > 2, true)
  t.equal(
    regex.apply([':status', '200'], request('GET', 'origin', 'https://b.example.evil')).length > 2,
    false,
  )
})
