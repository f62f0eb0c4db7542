// SPDX-License-Identifier: Apache-2.0
// Routes and traffic policies over real gRPC: each waypoint is told what concerns it, and nobody else anything.
import { create, fromBinary } from '@bufbuild/protobuf'
import t from 'tap'
import type { Published } from '../../controller/publish/publisher.ts'
import {
  REQUEST_POLICIES_TYPE,
  REQUEST_TELEMETRY_TYPE,
  SERVICE_ROUTES_TYPE,
  TRAFFIC_POLICY_TYPE,
} from '../../mesh/discovery/protocol.ts'
import { RequestPoliciesSchema } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { ServiceRoutesSchema } from '../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestTelemetrySchema } from '../../proto/generated/sidestep/v1/telemetry_pb.js'
import { TrafficPolicySchema } from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { deltaRequest } from '../support/delta-client.ts'
import { discoveryLab, type TestStream } from '../support/discovery-lab.ts'
import { published } from '../support/published.ts'

const CART = 'shop/cart.shop'
const GATEWAY = 'gateway shop/wp'
const BOOK = 'shop/book.shop'

function withRoutes(served: readonly string[], used: readonly string[]): Published {
  return {
    ...published([]),
    routes: new Map([CART, BOOK].map((service) => [service, create(ServiceRoutesSchema, { service })])),
    trafficPolicies: new Map(
      [CART, BOOK].map((service) => [service, create(TrafficPolicySchema, { service })]),
    ),
    requestPolicies: new Map(
      [CART, BOOK, GATEWAY].map((target) => [target, create(RequestPoliciesSchema, { target })]),
    ),
    requestTelemetry: new Map(
      [CART, BOOK, GATEWAY].map((target) => [target, create(RequestTelemetrySchema, { target })]),
    ),
    waypointScopes: new Map([['shop/wp', { served, used, guarded: [GATEWAY, ...served] }]]),
  }
}

/** Names of a type in the last response, and those it took back. */
function lastOf({ responses }: TestStream, typeUrl: string): [held: string[], removed: string[]] {
  const last = responses.findLast((each) => each.typeUrl === typeUrl)
  return [(last?.resources ?? []).map(({ name }) => name).toSorted(), last?.removedResources ?? []]
}

const TYPES = [SERVICE_ROUTES_TYPE, TRAFFIC_POLICY_TYPE, REQUEST_POLICIES_TYPE, REQUEST_TELEMETRY_TYPE]

function ask(stream: TestStream, names: readonly string[] = []): void {
  for (const typeUrl of TYPES) stream.send(deltaRequest({ typeUrl, subscribe: names }))
}

const answers = ({ responses }: TestStream): number => responses.length

t.test('a waypoint has the routes of what it serves, and the policies of what it sends to', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  delta.publish(withRoutes([CART], [BOOK, CART]))
  const waypoint = connect('shop/wp')
  ask(waypoint)
  await waypoint.until(() => answers(waypoint) === 4)
  for (const typeUrl of [REQUEST_POLICIES_TYPE, REQUEST_TELEMETRY_TYPE])
    t.same(lastOf(waypoint, typeUrl), [[GATEWAY, CART], []])
  t.same(lastOf(waypoint, SERVICE_ROUTES_TYPE), [[CART], []])
  t.same(lastOf(waypoint, TRAFFIC_POLICY_TYPE), [[BOOK, CART], []])
  const [resource] = waypoint.responses.find((each) => each.typeUrl === SERVICE_ROUTES_TYPE)?.resources ?? []
  const value = resource?.resource?.value ?? new Uint8Array()
  t.equal(fromBinary(ServiceRoutesSchema, value).service, CART)

  delta.publish(withRoutes([BOOK], [BOOK]))
  await waypoint.until(() => answers(waypoint) === 8)
  for (const typeUrl of [REQUEST_POLICIES_TYPE, REQUEST_TELEMETRY_TYPE])
    t.same(lastOf(waypoint, typeUrl), [[BOOK], [CART]])
  t.same(lastOf(waypoint, SERVICE_ROUTES_TYPE), [[BOOK], [CART]])
  t.same(lastOf(waypoint, TRAFFIC_POLICY_TYPE)[1], [CART])
})

t.test('ztunnels and waypoints of others get none, even by name', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  delta.publish(withRoutes([CART], [CART]))
  for (const [who, names] of [
    ['istio-system/ztunnel', []],
    ['other/wp', []],
    ['other/wp2', [CART]],
    ['istio-system/ztunnel2', ['*', CART]],
  ] as const) {
    const stream = connect(who)
    ask(stream, names)
    await stream.until(() => answers(stream) === 4)
    t.same(
      stream.responses.flatMap(({ resources }) => resources),
      [],
      who,
    )
  }
})
