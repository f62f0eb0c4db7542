// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { LoggedRequest } from '../../../waypoint/records/logged-request.ts'
import { formatRequestRecord } from '../../../waypoint/records/request-record.ts'
import { loggedRequest, loggedSource } from '../../support/logged.ts'

const parsed = (request: LoggedRequest, source = loggedSource()): Record<string, unknown> =>
  JSON.parse(formatRequestRecord(source, request)) as Record<string, unknown> // as: an object, made here

t.test('a record has the ends of a request, its way and its numbers', async (t) => {
  t.strictSame(parsed(loggedRequest()), {
    time: '2026-01-02T03:04:05.018Z',
    scope: 'request',
    reason: 'OK',
    method: 'GET',
    host: 'web',
    path: '/items',
    status: 200,
    response_flags: '-',
    'src.addr': '10.1.0.1',
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/front',
    'src.namespace': 'shop',
    'dst.service': 'web.shop.svc.cluster.local',
    'dst.authority': '10.96.0.30:80',
    'dst.addr': '10.2.0.1:8080',
    'dst.identity': 'spiffe://cluster.local/ns/shop/sa/cart',
    route: 'HTTPRoute shop/web[0]',
    attempts: 1,
    bytes_received: 3,
    bytes_sent: 5,
    duration_ms: 12,
  })
})

t.test('an answer of ours has its reason and what to do', async (t) => {
  const reason = { code: 'POLICY_DENY', detail: 'shop/p[0]' } as const
  const record = parsed(
    loggedRequest({ reason, policy: 'shop/p[0]', policyNotes: ['a', 'b'], endpoint: null }),
  )
  t.equal(record.reason, 'POLICY_DENY')
  t.equal(record.detail, 'shop/p[0]')
  t.equal(record.policy_notes, 'a; b')
  t.ok(String(record.fix).length > 10)
  t.notOk(Object.hasOwn(record, 'dst.addr'))
})

t.test('a connection of bytes is told apart', async (t) => {
  const record = parsed(loggedRequest({ method: '', path: '', host: '' }), loggedSource({ version: null }))
  t.equal(record.protocol, 'tcp')
  for (const name of ['status', 'response_flags', 'attempts']) t.notOk(Object.hasOwn(record, name), name)
  t.equal(record.bytes_sent, 5)
})

t.test('what a caller writes is one field of one line, and not without end', async (t) => {
  const path = `/"},{"reason":"x\n${'y'.repeat(5000)}`
  const line = formatRequestRecord(loggedSource(), loggedRequest({ path, host: '\xff"' }))
  t.notOk(line.includes('\n'))
  const record = JSON.parse(line) as Record<string, unknown> // as: an object, made here
  t.equal(record.path, `${path.slice(0, 1024)}…`)
  t.equal(record.host, '\xff"')
  t.equal(record.reason, 'OK')
})
