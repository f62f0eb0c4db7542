// SPDX-License-Identifier: Apache-2.0
import { create, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import {
  REQUEST_POLICIES_TYPE,
  SERVICE_ROUTES_TYPE,
  TRAFFIC_POLICY_TYPE,
} from '../../mesh/discovery/protocol.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import {
  RequestPoliciesSchema,
  RequestPolicy_Action,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { ServiceRoutesSchema } from '../../proto/generated/sidestep/v1/routes_pb.js'
import { Layer7Reader } from '../../waypoint/resources.ts'

const CART = 'shop/cart.shop'
const BROKEN = Uint8Array.of(0x0f)

function reader(): { readonly layer7: Layer7Reader; readonly told: unknown[] } {
  const told: unknown[] = []
  const log = { error: (fields: { readonly name: string }) => told.push(fields.name) } as unknown as Log // as: all that is used
  return { layer7: new Layer7Reader(log), told }
}

t.test('a resource that has not changed is the same object again', async (t) => {
  const { layer7, told } = reader()
  const routes = toBinary(ServiceRoutesSchema, create(ServiceRoutesSchema, { service: CART }))
  const policies = toBinary(RequestPoliciesSchema, create(RequestPoliciesSchema, { target: CART }))
  const raw = new Map([
    [SERVICE_ROUTES_TYPE, new Map([[CART, routes]])],
    [REQUEST_POLICIES_TYPE, new Map([[CART, policies]])],
  ])
  const first = layer7.read(raw)
  t.equal(first.routes.get(CART)?.service, CART)
  t.equal(layer7.read(raw).routes.get(CART), first.routes.get(CART))
  t.equal(layer7.read(raw).requestPolicies.get(CART), first.requestPolicies.get(CART))
  t.equal(first.trafficPolicies.size, 0)
  t.strictSame(told, [])
})

t.test('what cannot be read lets nobody in and routes nothing, and is told', async (t) => {
  const { layer7, told } = reader()
  const types = [SERVICE_ROUTES_TYPE, REQUEST_POLICIES_TYPE, TRAFFIC_POLICY_TYPE]
  const { routes, requestPolicies, trafficPolicies } = layer7.read(
    new Map(types.map((type) => [type, new Map([[CART, BROKEN]])])),
  )
  const [list] = routes.get(CART)?.ports[0]?.lists ?? []
  t.strictSame([list?.routes.case, routes.get(CART)?.ports[0]?.port], ['http', 0])
  const [policy] = requestPolicies.get(CART)?.policies ?? []
  t.strictSame([policy?.action, policy?.rules.length], [RequestPolicy_Action.DENY, 1])
  t.notOk(trafficPolicies.has(CART), 'endpoints are used as if nobody had said anything')
  t.strictSame(told, [CART, CART, CART])
})
