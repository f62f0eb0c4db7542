// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { forwardedHeaders } from '../../../waypoint/carry/request-headers.ts'

const OWN = 'spiffe://td/ns/shop/sa/wp'
const CALLER = 'spiffe://td/ns/shop/sa/front'
const HEAD = [':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/a/../b?q']
const sent = (fields: readonly string[], identity = CALLER): string[] =>
  forwardedHeaders(
    [...HEAD, ...fields],
    { path: '/b', query: '?q' },
    { ip: '10.0.0.1', identity },
    OWN,
    () => 'id-1',
  )

t.test('a service is told where a request came from, and gets its path in one spelling', async (t) => {
  t.same(sent(['accept', '*/*']), [
    ...[':method', 'GET', ':scheme', 'http', ':authority', 'web', ':path', '/b?q', 'accept', '*/*'],
    ...['x-forwarded-for', '10.0.0.1', 'x-forwarded-proto', 'http'],
    ...['x-forwarded-client-cert', `By=${OWN};URI=${CALLER}`, 'x-request-id', 'id-1'],
  ])
})

t.test('addresses before the caller’s are kept, what it says of identities is not', async (t) => {
  const fields = sent([
    ...['x-forwarded-for', '1.1.1.1', 'x-forwarded-for', '2.2.2.2', 'x-request-id', 'own'],
    ...['x-forwarded-client-cert', 'URI=spiffe://td/ns/x/sa/root', 'x-forwarded-proto', 'https'],
    ...['x-sidestep-diverted-for', 'unknown'],
  ])
  t.same(fields.slice(HEAD.length), [
    ...['x-request-id', 'own', 'x-forwarded-for', '1.1.1.1,2.2.2.2,10.0.0.1', 'x-forwarded-proto', 'http'],
    ...['x-forwarded-client-cert', `By=${OWN};URI=${CALLER}`],
  ])
})

t.test('who has proved nothing has no certificate', async (t) => {
  t.notOk(sent([], '').includes('x-forwarded-client-cert'))
})
