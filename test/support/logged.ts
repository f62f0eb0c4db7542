// SPDX-License-Identifier: Apache-2.0
// Requests that have ended, for tests of what is told of them.
import type { LoggedRequest, LoggedSource } from '../../waypoint/records/logged-request.ts'

const SERVICE = {
  ...{ kind: 'service', authority: '10.96.0.30:80', hostname: 'web.shop.svc.cluster.local' },
  ...{ namespace: 'shop', name: 'web', port: 80 },
}

/** A connection of front. */
export function loggedSource(changes: Partial<LoggedSource> = {}): LoggedSource {
  return {
    sender: { ip: '10.1.0.1', identity: 'spiffe://cluster.local/ns/shop/sa/front' },
    ...{ caller: { namespace: 'shop' }, target: { view: SERVICE }, version: 'http1' },
    ...changes,
  }
}

/** GET /items, answered 200 by cart within 12 ms, at 2026-01-02T03:04:05.006Z. */
export function loggedRequest(changes: Partial<LoggedRequest> = {}): LoggedRequest {
  const startedMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6) - performance.timeOrigin
  return {
    ...{ reason: { code: 'OK', detail: '' }, method: 'GET', host: 'web', path: '/items' },
    headers: [
      ...[':method', 'GET', ':path', '/items?token=1', ':authority', 'web', ':scheme', 'http'],
      ...['user-agent', 'curl/8'],
    ],
    answerHeaders: [':status', '200', 'server', 'cart'],
    ...{ status: 200, grpcStatus: null, marks: 0 },
    endpoint: { ip: '10.2.0.1', port: 8080, identity: 'spiffe://cluster.local/ns/shop/sa/cart' },
    known: { facts: { view: { name: 'shop/web.shop.svc.cluster.local|80|' } } },
    ...{ route: 'HTTPRoute shop/web[0]', requestId: 'id-1', policy: '', policyNotes: [], attemptCount: 1 },
    ...{ bytesReceived: 3, bytesSent: 5, startedMs, endedMs: startedMs + 12 },
    ...{ sentMs: startedMs + 1, answeredMs: startedMs + 9, trace: null },
    ...changes,
  }
}
