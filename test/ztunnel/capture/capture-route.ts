// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { App } from '../../../ztunnel/app.ts'
import { capture, MAX_CAPTURE_BYTES, MAX_CAPTURE_SECONDS } from '../../../ztunnel/capture/capture-route.ts'

const pod = (name: string, namespace = 'shop') => ({ uid: name, name, namespace, serviceAccount: name })
const app = (isOn = true, isRunning = false): App =>
  ({
    config: { capture: isOn },
    pods: [pod('cart'), pod('twin'), pod('twin', 'other')],
    captures: { isRunning },
  }) as unknown as App // as: what this route looks at
const ask = (changes: Readonly<Record<string, string>> = {}, of = app()) =>
  capture(of, new URLSearchParams({ pod: 'shop/cart', by: 'anna', seconds: '60', bytes: '1000', ...changes }))

t.test('a node that does not allow it refuses whatever is asked, and says what would', async (t) => {
  t.match(ask({}, app(false)), { status: 403, body: /SIDESTEP_CAPTURE=true/ })
})

t.test('limits hold at their edges, and nobody captures unnamed', async (t) => {
  for (const good of [
    {},
    { seconds: `${MAX_CAPTURE_SECONDS}` },
    { bytes: `${MAX_CAPTURE_BYTES}` },
    { pod: 'cart' },
  ])
    t.ok('open' in ask(good), JSON.stringify(good))
  const bad = [
    ...[{ seconds: `${MAX_CAPTURE_SECONDS + 1}` }, { bytes: `${MAX_CAPTURE_BYTES + 1}` }, { by: '' }],
    ...[{ seconds: '0' }, { seconds: '-1' }, { seconds: '1.5' }, { seconds: 'x' }, { bytes: '' }],
  ]
  for (const each of bad) t.match(ask(each), { status: 400 }, JSON.stringify(each))
  t.match(ask({ pod: 'nobody' }), { status: 404 })
  t.match(ask({ pod: 'twin' }), { status: 404, body: /more than one/ })
  t.match(ask({}, app(true, true)), { status: 503 })
})
