// SPDX-License-Identifier: Apache-2.0
// What a client holds, and what it says on its next stream: from a controller, and from what was saved.
import { create, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { DeltaClient } from '../../../mesh/discovery/delta-client.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../../mesh/discovery/protocol.ts'
import {
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../../proto/generated/envoy/discovery_pb.js'
import { type Action, AuthorizationSchema } from '../../../proto/generated/istio/authorization_pb.js'
import { AddressSchema } from '../../../proto/generated/istio/workload_pb.js'
import { policy, workload } from '../../support/published.ts'

const NODE = { id: 'ztunnel~1', metadata: { NODE_NAME: 'n1' } }

function response(
  typeUrl: string,
  values: Readonly<Record<string, Uint8Array>> = {},
  removedResources: string[] = [],
): DeltaDiscoveryResponse {
  const resources = Object.entries(values).map(([name, value]) => ({
    ...{ name, version: `v-${name}`, resource: { typeUrl, value } },
  }))
  return create(DeltaDiscoveryResponseSchema, { typeUrl, resources, removedResources, nonce: 'n' })
}

const address = (name: string): Uint8Array =>
  toBinary(
    AddressSchema,
    create(AddressSchema, { type: { case: 'workload', value: workload(`shop/${name}`) } }),
  )

t.test('what is restored is held and told to the next controller, and yet to be confirmed', (t) => {
  const client = new DeltaClient(NODE)
  client.restore(response(ADDRESS_TYPE, { a: address('a'), b: address('b') }))
  t.notOk(client.isComplete, 'of policies nothing is known')
  client.restore(response(AUTHORIZATION_TYPE))
  t.ok(client.isComplete)
  t.notOk(client.isConfirmed)
  t.same(client.greetings()[0]?.initialResourceVersions, { a: 'v-a', b: 'v-b' })

  client.apply(response(ADDRESS_TYPE, {}, ['a']))
  t.notOk(client.isConfirmed)
  client.apply(response(AUTHORIZATION_TYPE))
  t.ok(client.isConfirmed)
  t.same(
    client.config().workloads.map(({ name }) => name),
    ['b'],
  )
  t.end()
})

t.test('a response is worth keeping when it says something, or is the first of its type', (t) => {
  const client = new DeltaClient(NODE)
  t.ok(client.apply(response(AUTHORIZATION_TYPE)).isWorthKeeping)
  t.notOk(client.apply(response(AUTHORIZATION_TYPE)).isWorthKeeping)
  t.ok(client.apply(response(AUTHORIZATION_TYPE, {}, ['gone'])).isWorthKeeping)
  t.notOk(client.apply(response('type.googleapis.com/of.others', { x: address('x') })).isWorthKeeping)
  t.end()
})

t.test('a policy that cannot be read is closed by name when there is no earlier one', (t) => {
  const client = new DeltaClient(NODE)
  const bad = policy('shop/p')
  bad.action = 99 as Action // as: of a controller that is newer
  const bytes = toBinary(AuthorizationSchema, bad)
  const first = client.apply(response(AUTHORIZATION_TYPE, { p: bytes }))
  t.same(first.denied, ['p'])
  t.match(first.refused, [{ name: 'p' }])
  t.equal(client.config().policies[0]?.action, 'Deny')
  client.apply(response(AUTHORIZATION_TYPE, { p: toBinary(AuthorizationSchema, policy('shop/p')) }))
  t.same(client.apply(response(AUTHORIZATION_TYPE, { p: bytes })).denied, [], 'the earlier version stays')
  t.end()
})
