// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { upstreamVersion } from '../../../waypoint/upstream/upstream-version.ts'

t.test('what the application speaks, then the policy, then what the request came with', async (t) => {
  t.equal(upstreamVersion('auto', false, 'http1', false), 'http1')
  t.equal(upstreamVersion('auto', false, 'http2', false), 'http2')
  t.equal(upstreamVersion('http1', false, 'http2', false), 'http1')
  t.equal(upstreamVersion('http2', false, 'http1', false), 'http2')
  t.equal(upstreamVersion('http1', true, 'http1', false), 'http2')
  t.equal(upstreamVersion('auto', true, 'http1', false), 'http2')
  t.equal(upstreamVersion('auto', true, 'http1', true), 'http1', 'a change of protocol is one of HTTP/1.1')
  t.equal(upstreamVersion('http2', false, 'http1', true), 'http2')
})
