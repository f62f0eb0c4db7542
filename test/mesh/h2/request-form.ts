// SPDX-License-Identifier: Apache-2.0
// The one form of requests: idempotent, and what HTTP/2 does not know is left out.
import fc from 'fast-check'
import t from 'tap'
import { requestFault } from '../../../mesh/h2/header-rules.ts'
import { receivedRequest, sentRequest } from '../../../mesh/h2/request-form.ts'
import { headerValue } from '../../../mesh/http/header-list.ts'
import { get } from '../../support/http1-pair.ts'

t.test('whatever is well formed has its form after one pass, and is still well formed', async (t) => {
  const field = fc.oneof(
    fc.tuple(fc.constant('cookie'), fc.stringMatching(/^[a-z]=[a-z0-9]{0,5}$/)),
    fc.tuple(fc.constantFrom('x', 'accept'), fc.constantFrom('', 'a', 'B c')),
    fc.constant(['host', 'Cart'] as const),
  )
  fc.assert(
    fc.property(
      fc.array(field, { maxLength: 8 }),
      fc.constantFrom('', 'cart', 'CART'),
      (fields, authority) => {
        const named = authority === '' ? [] : [':authority', authority]
        const list = [':method', 'GET', ':scheme', 'http', ':path', '/', ...named, ...fields.flat()]
        if (requestFault(list) !== '') return fields.filter(([name]) => name === 'host').length > 1
        const once = receivedRequest(list)
        const cookies = fields.filter(([name]) => name === 'cookie').map(([, value]) => value)
        const others = (all: readonly string[]) =>
          all.filter((_, i) => ['x', 'accept'].includes(all[i - (i % 2)] ?? '')).join()
        return (
          requestFault(once) === '' &&
          receivedRequest(once) === once &&
          headerValue(once, 'host') === undefined &&
          headerValue(once, ':authority') ===
            (list.some((each) => /^cart$/i.test(each)) ? 'cart' : undefined) &&
          headerValue(once, 'cookie') === (cookies.length === 0 ? undefined : cookies.join('; ')) &&
          others(once) === others(list)
        )
      },
    ),
  )
  t.pass()
})

t.test('what HTTP/2 has no word for is not sent', async (t) => {
  const plain = get('/', 'GET', 'x', 'upgrade')
  t.equal(sentRequest(plain).headers, plain, 'a list without it is not copied')
  t.same(sentRequest(get('/', 'GET', 'upgrade', 'websocket', 'x', 'y')), {
    headers: get('/', 'GET', 'x', 'y'),
    isUpgradeDropped: true,
  })
  t.same(sentRequest([':method', 'GET', ':scheme', 'http', ':authority', '', ':path', '/']), {
    headers: [':method', 'GET', ':scheme', 'http', ':path', '/'],
    isUpgradeDropped: false,
  })
})
