// SPDX-License-Identifier: Apache-2.0
// Clients of the discovery service that refuse, dawdle or say too much: each costs itself, and the others hear everything.

import { toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { MAX_SUBSCRIBED_NAMES } from '../../controller/publish/delta-session.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/discovery/protocol.ts'
import { MAX_REQUEST_BYTES } from '../../mesh/grpc/server.ts'
import { DeltaDiscoveryRequestSchema } from '../../proto/generated/envoy/discovery_pb.js'
import { deltaRequest } from '../support/delta-client.ts'
import { discoveryLab } from '../support/discovery-lab.ts'
import { policy, published, workload } from '../support/published.ts'

const CART = 'Kubernetes//Pod/shop/cart'
const WEB = 'Kubernetes//Pod/shop/web'
const RESOURCE_EXHAUSTED = 8

t.test(
  'a client that refuses one resource has the others, now and later, and nobody else notices',
  async (t) => {
    const { delta, connect } = await discoveryLab(t)
    const picky = connect('node-a')
    picky.refuses.add(CART)
    picky.begin()
    const good = connect('node-b').begin()
    delta.publish(published([workload('shop/cart'), workload('shop/web')]))
    await good.until(() => good.held.size === 2)
    await picky.until(() => picky.held.has(WEB))
    delta.publish(published([workload('shop/cart'), workload('shop/web'), workload('shop/api')]))
    await picky.until(() => picky.held.has('Kubernetes//Pod/shop/api'))
    await good.until(() => good.held.size === 3)
    const offered = picky.responses.filter(({ resources }) => resources.some(({ name }) => name === CART))
    t.equal(offered.length, 1, 'the same version is not offered again')
    delta.publish(published([workload('shop/cart', { ip: [10, 0, 0, 1] }), workload('shop/web')]))
    picky.refuses.clear()
    await picky.until(() => picky.held.has(CART))
    t.equal(picky.status, null)
  },
)

t.test('a client that refuses whatever it is sent is asked a few times, not for ever', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  delta.publish(published([workload('shop/cart'), workload('shop/web')], [], [policy('shop/p')]))
  const client = connect('node-a')
  client.refusesAll = true
  client.begin()
  const good = connect('node-b').begin()
  await client.until(
    () => client.ofType(ADDRESS_TYPE).length === 2 && client.ofType(AUTHORIZATION_TYPE).length === 1,
  )
  // Whatever it provoked is answered before a later request of the same stream.
  client.send(deltaRequest({ typeUrl: 'type.googleapis.com/unknown' }))
  await client.until(() => client.ofType('type.googleapis.com/unknown').length === 1)
  const before = client.responses.length
  client.send(deltaRequest({ typeUrl: 'type.googleapis.com/another' }))
  await client.until(() => client.ofType('type.googleapis.com/another').length === 1)
  t.ok(client.responses.length <= before + 2, `${client.responses.length} responses`)
  delta.publish(published([workload('shop/cart'), workload('shop/web'), workload('shop/api')]))
  await good.until(() => good.held.has('Kubernetes//Pod/shop/api'))
  t.ok(delta.refused().length > 0)
})

t.test('a client that does not read is sent one response, and then what is true by then', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  const slow = connect('node-a')
  const quick = connect('node-b').begin()
  slow.begin()
  await slow.until(() => slow.responses.length === 2)
  slow.isSilent = true
  const rounds = 200
  for (let round = 1; round <= rounds; round++) {
    const churn = Array.from({ length: 50 }, (_, index) =>
      workload(`shop/pod-${index}-${round}-${'x'.repeat(500)}`, { ip: [10, 1, index, round & 255] }),
    )
    delta.publish(published([...churn, workload('shop/cart', { ip: [10, 0, 0, round & 255] })]))
  }
  const version = (): string | undefined => quick.held.get(CART)
  await quick.until(
    () => quick.held.size === 51 && [...quick.held.keys()].some((name) => name.includes(`-${rounds}-`)),
  )
  const unsent = delta.clients().find(({ node }) => node === 'node-a')?.unsentBytes ?? 0
  t.ok(unsent < 100_000, `${unsent} bytes wait for it`)
  await slow.until(() => slow.responses.length === 3)
  slow.isSilent = false
  slow.answerLast()
  await slow.until(() => slow.held.get(CART) === version())
  t.same([...slow.held.keys()].toSorted(), [...quick.held.keys()].toSorted(), 'it holds what all hold')
  t.ok(slow.responses.length <= 4, 'two hundred changes came as one or two responses')
  t.equal(slow.status, null)
})

t.test('requests of two megabytes are taken or refused, and disturb nobody', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  const good = connect('node-b').begin()
  await good.until(() => good.responses.length === 2)
  const name = (index: number): string => `Kubernetes//Pod/shop/${String(index).padStart(20, '0')}`
  const held = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [name(index), 'x'.repeat(50)]))
  const large = deltaRequest({ typeUrl: ADDRESS_TYPE, held })
  const bytes = toBinary(DeltaDiscoveryRequestSchema, large).length
  t.ok(bytes > MAX_REQUEST_BYTES * 0.9 && bytes < MAX_REQUEST_BYTES, `${bytes} bytes`)
  const resuming = connect('node-a')
  resuming.send(deltaRequest({ typeUrl: AUTHORIZATION_TYPE }))
  resuming.send(large)
  await resuming.until(() => resuming.responses.length === 2)
  t.equal(resuming.ofType(ADDRESS_TYPE)[0]?.removedResources.length, 20_000, 'each is told to be gone')

  const longer = connect('node-c')
  longer.sendBytes(Buffer.alloc(MAX_REQUEST_BYTES + 1))
  const greedy = connect('node-d')
  const names = Array.from({ length: MAX_SUBSCRIBED_NAMES + 1 }, (_, index) => `/${index}`)
  greedy.send(deltaRequest({ typeUrl: ADDRESS_TYPE, subscribe: names }))
  for (const each of [longer, greedy]) await each.until(() => each.status !== null)
  t.same([longer.status, greedy.status], [RESOURCE_EXHAUSTED, RESOURCE_EXHAUSTED])

  delta.publish(published([workload('shop/cart')]))
  await good.until(() => good.held.has(CART))
  t.equal(good.status, null)
})
