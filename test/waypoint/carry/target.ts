// SPDX-License-Identifier: Apache-2.0
// What a target wants to know of a caller before it is carried; routing itself is test/waypoint/decide.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { RequestPoliciesSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { PortRoutesSchema, type RouteListSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { Target } from '../../../waypoint/carry/target.ts'
import type { ServiceTarget } from '../../../waypoint/model/views.ts'

type Lists = MessageInitShape<typeof RouteListSchema>[]

const policies = create(RequestPoliciesSchema, { target: 'shop/cart.svc', policies: [{ origin: 'p' }] })

function target(lists: Lists, facts: Partial<ServiceTarget> = {}): Target {
  const view: ServiceTarget = {
    ...{ kind: 'service', authority: '10.0.0.1:443', name: 'cart', namespace: 'shop', hostname: 'cart.svc' },
    ...{ port: 443, appProtocol: null, guards: [], identities: [], telemetry: null },
    routes: create(PortRoutesSchema, { lists }),
    ...facts,
  }
  return new Target(view)
}

const tcp = (rule: object): Lists => [{ routes: { case: 'tcp', value: { rules: [rule] } } }]
const http = (match: object): Lists => [
  { routes: { case: 'http', value: { rules: [{}], entries: [{ match }] } } },
]

t.test('the server name is asked for where routes or policies of TLS go by it', async (t) => {
  t.equal(target(tcp({ serverNames: ['a.example'] })).asksServerName, true)
  t.equal(target(tcp({})).asksServerName, false)
  t.equal(target([]).asksServerName, false)
  t.equal(target([], { appProtocol: 'TLS' }).asksServerName, false, 'nobody would know it')
  t.equal(target([], { appProtocol: 'TLS', guards: [{ policies, port: 443 }] }).asksServerName, true)
  t.equal(target([], { appProtocol: 'TCP', guards: [{ policies, port: 443 }] }).asksServerName, false)
})

t.test('labels of callers are asked for where a route goes by them', async (t) => {
  t.equal(target(http({ sourceLabels: { tier: 'gold' } })).asksCallerLabels, true)
  t.equal(target(tcp({ sourceLabels: { tier: 'gold' } })).asksCallerLabels, true)
  t.equal(target(http({ method: 'GET' })).asksCallerLabels, false)
  t.equal(target(tcp({ serverNames: ['a.example'] })).asksCallerLabels, false)
  t.equal(target([]).asksCallerLabels, false)
})
