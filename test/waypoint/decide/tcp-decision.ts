// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { TcpRoutesSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { pickTcpBackend } from '../../../waypoint/decide/tcp-decision.ts'

const chosen = (
  rules: MessageInitShape<typeof TcpRoutesSchema>['rules'],
  serverName = '',
  random = 0,
): string => {
  const routes = create(TcpRoutesSchema, { rules: rules ?? [] })
  const picked = pickTcpBackend(routes, { namespace: 'shop', labels: { app: 'x' } }, serverName, random)
  return isRefusal(picked) ? picked.code : picked.backend.service
}
const to = (service: string) => ({ backends: [{ service, weight: 1 }] })

t.test('the first rule that is true of a connection decides', async (t) => {
  t.equal(chosen([{ sourceNamespace: 'other', ...to('a') }, to('b')]), 'b')
  t.equal(chosen([{ sourceNamespace: 'shop', ...to('a') }, to('b')]), 'a')
  t.equal(chosen([{ sourceLabels: { app: 'y' }, ...to('a') }, to('b')]), 'b')
  t.equal(chosen([{ sourceLabels: { app: 'x' }, ...to('a') }, to('b')]), 'a')
  t.equal(chosen([{ sourceNamespace: 'other', ...to('a') }]), 'ROUTE_NOT_FOUND')
})

t.test('server names', async (t) => {
  const rules = [
    { serverNames: ['A.example'], ...to('exact') },
    { serverNames: ['*.example'], ...to('below') },
  ]
  t.equal(chosen(rules, 'a.example'), 'exact')
  t.equal(chosen(rules, 'x.y.example'), 'below')
  t.equal(chosen(rules, 'example'), 'ROUTE_NOT_FOUND')
  t.equal(chosen(rules, ''), 'ROUTE_NOT_FOUND')
})

t.test('shares, and what is broken', async (t) => {
  const backends = [
    { service: 'a', weight: 1 },
    { service: 'b', weight: 3 },
  ]
  t.equal(chosen([{ backends }], '', 0.2), 'a')
  t.equal(chosen([{ backends }], '', 0.3), 'b')
  t.equal(chosen([{ backends: [{ broken: 'gone', weight: 1 }] }]), 'ROUTE_BROKEN')
  t.equal(chosen([{ backends: [] }]), 'ROUTE_BROKEN')
})
