// SPDX-License-Identifier: Apache-2.0
// The discovery service over real gRPC and TLS, with clients that hold what they are told.
import { fromBinary } from '@bufbuild/protobuf'
import { pino } from 'pino'
import t from 'tap'
import { DiscoveryClient } from '../../../mesh/discovery/discovery-client.ts'
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  REVOCATIONS_NAME,
  REVOCATIONS_TYPE,
} from '../../../mesh/discovery/protocol.ts'
import type { MeshConfig } from '../../../mesh/model/mesh-state.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { RevocationsSchema } from '../../../proto/generated/sidestep/v1/revocations_pb.js'
import { deltaRequest } from '../../support/delta-client.ts'
import { discoveryLab, identity, type TestStream } from '../../support/discovery-lab.ts'
import { policy, published, service, workload } from '../../support/published.ts'

t.test('clients hold what is published, and what changes, until it is gone', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  delta.publish(published([workload('shop/cart')], [service('shop/cart.shop.svc', [10, 96, 0, 1])]))
  const clients = ['node-a', 'node-b'].map((node) => connect(node).begin())
  for (const client of clients) await client.until(() => client.held.size === 2)
  delta.publish(published([workload('shop/cart'), workload('shop/web')], [], [policy('shop/x')]))
  for (const client of clients) await client.until(() => client.held.has('Kubernetes//Pod/shop/web'))
  for (const client of clients) t.notOk(client.held.has('shop/cart.shop.svc'))
  t.match(delta.clients(), [
    { node: 'node-a', caller: 'token of node-a', types: [{ held: 2 }, { held: 0 }] },
    { node: 'node-b' },
  ])
  delta.close()
  for (const client of clients) await client.until(() => client.status === 14)
  t.equal(delta.clients().length, 0)
})

t.test('who proves nothing gets nothing', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  delta.publish(published([workload('shop/cart')]))
  const client = connect().begin()
  await client.until(() => client.status === 16)
  t.equal(client.held.size, 0)
  t.equal(delta.clients().length, 0)
})

t.test('garbage ends the stream that sent it and no other', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  const good = connect('node-a').begin()
  const bad = connect('node-b').begin()
  await good.until(() => good.responses.length === 2)
  bad.sendBytes(Buffer.from([0xff, 0xff, 0xff]))
  await bad.until(() => bad.status === 8)
  delta.publish(published([workload('shop/cart')]))
  await good.until(() => good.held.size === 1)
  t.equal(good.status, null)
})

t.test('a client that never answers is cut after a while', async (t) => {
  const { delta, connect } = await discoveryLab(t, { answerTimeoutMs: 200 })
  const client = connect('node-a')
  client.isSilent = true
  client.begin()
  await client.until(() => client.status !== null)
  t.equal(client.status, 14)
  t.equal(delta.clients().length, 0)
})

t.test('the streams of one node are few: the oldest goes', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  const streams: TestStream[] = []
  for (let index = 0; index < 9; index++) {
    const stream = connect('node-a').begin()
    await stream.until(() => stream.responses.length === 2)
    streams.push(stream)
  }
  await streams[0]?.until(() => streams[0]?.status === 8)
  t.equal(delta.clients().length, 8)
})

t.test('clients that read nothing do not fill the memory, and hold up nobody for good', async (t) => {
  const many = Array.from({ length: 3000 }, (_, index) =>
    workload(`shop/pod-${index}-${'x'.repeat(1000)}`, { ip: [10, 1, index >> 8, index & 255] }),
  )
  const { delta, connect } = await discoveryLab(t, { maxUnsentBytes: 8_000_000, answerTimeoutMs: 3000 })
  delta.publish(published(many))
  const idle = Array.from({ length: 6 }, (_, index) => {
    const stream = connect(`idle-${index}`)
    stream.pause()
    return stream.begin()
  })
  await new Promise((resolve) => setTimeout(resolve, 500))
  const waiting = delta.clients().reduce((sum, { unsentBytes }) => sum + unsentBytes, 0)
  t.ok(waiting < 24_000_000, `${waiting} bytes wait`)
  const client = connect('node-a').begin()
  await client.until(() => client.held.size === many.length)
  t.equal(client.status, null)
  for (const stream of idle) stream.close()
})

t.test('what a client refuses is listed for people', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  const client = connect('node-a')
  client.refuses.add('Kubernetes//Pod/shop/cart')
  client.begin()
  delta.publish(published([workload('shop/cart'), workload('shop/web')]))
  await client.until(() => client.held.has('Kubernetes//Pod/shop/web') && client.responses.length >= 3)
  // Its answer is on the way when it has the response.
  while (delta.refused().length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.match(delta.refused(), [
    { name: 'Kubernetes//Pod/shop/cart', typeUrl: ADDRESS_TYPE, message: /no such enum/ },
  ])
})

t.test(
  'before the first publication nobody is told anything, least of all that there is nothing',
  async (t) => {
    const { delta, connect } = await discoveryLab(t, {}, false)
    const client = connect('node-a')
    const held = { 'Kubernetes//Pod/shop/cart': 'of an earlier stream' }
    client.send(deltaRequest({ typeUrl: ADDRESS_TYPE, held }))
    client.send(deltaRequest({ typeUrl: AUTHORIZATION_TYPE }))
    await new Promise((resolve) => setTimeout(resolve, 300))
    t.equal(client.responses.length, 0)
    delta.publish(published([workload('shop/web')]))
    await client.until(() => client.responses.length === 2)
    t.same(
      client.responses.flatMap(({ removedResources }) => removedResources),
      Object.keys(held),
    )
    const empty = await discoveryLab(t, {}, false)
    const other = empty.connect('node-a').begin()
    empty.delta.publish(published([]))
    await other.until(() => other.responses.length === 2)
  },
)

t.test('revocation lists reach whoever asks for them, and disturb nobody else', async (t) => {
  const { delta, connect } = await discoveryLab(t)
  const istio = connect('node-b').begin()
  await istio.until(() => istio.responses.length === 2)
  const client = connect('node-a').begin()
  const held = { [REVOCATIONS_NAME]: 'of an earlier stream' }
  client.send(deltaRequest({ typeUrl: REVOCATIONS_TYPE, held }))
  await client.until(() => client.responses.length === 2)
  delta.publish(published([workload('shop/cart')]))
  await client.until(() => client.responses.length === 3)
  t.notOk(
    client.ofType(REVOCATIONS_TYPE).length,
    'before anybody knows what is revoked, nothing is taken back',
  )

  const lists = Buffer.from('-----BEGIN X509 CRL-----\none\n-----END X509 CRL-----\n')
  delta.publishRevocations(lists)
  await client.until(() => client.ofType(REVOCATIONS_TYPE).length === 1)
  const [first] = client.ofType(REVOCATIONS_TYPE)
  t.equal(first?.resources[0]?.name, REVOCATIONS_NAME)
  t.equal(first?.resources[0]?.resource?.typeUrl, REVOCATIONS_TYPE)
  const { crl } = fromBinary(RevocationsSchema, first?.resources[0]?.resource?.value ?? new Uint8Array())
  t.same(Buffer.from(crl), lists)

  delta.publishRevocations(Buffer.from(lists))
  delta.publishRevocations(Buffer.from('two'))
  await client.until(() => client.ofType(REVOCATIONS_TYPE).length === 2)
  const version = client.held.get(REVOCATIONS_NAME) ?? ''
  t.not(version, first?.resources[0]?.version)

  const resumed = connect('node-a')
  resumed.send(deltaRequest({ typeUrl: REVOCATIONS_TYPE, held: { [REVOCATIONS_NAME]: version } }))
  await resumed.until(() => resumed.responses.length === 1)
  t.same(resumed.responses[0]?.resources, [], 'what it holds is not sent again')
  const named = connect('node-c')
  named.send(deltaRequest({ typeUrl: REVOCATIONS_TYPE, subscribe: [REVOCATIONS_NAME, 'other'] }))
  await named.until(() => named.responses.length === 1)
  t.equal(named.held.get(REVOCATIONS_NAME), version)
  t.same(named.responses[0]?.removedResources, ['other'])

  delta.publishRevocations(null)
  for (const each of [client, resumed, named])
    await each.until(() => each.responses.at(-1)?.removedResources[0] === REVOCATIONS_NAME)
  t.same(istio.ofType(REVOCATIONS_TYPE), [])
  t.equal(istio.status, null)
})

t.test(
  'a node of ours asks for revocation lists once it has the configuration, and hears of changes',
  async (t) => {
    const { delta, port } = await discoveryLab(t)
    const list = '-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n' // an empty SEQUENCE
    delta.publishRevocations(Buffer.from(list))
    const configs: MeshConfig[] = []
    const revocations: number[] = []
    let wake = (): void => {}
    const follower = new DiscoveryClient({
      addresses: [`localhost:${port}`],
      node: { id: 'ztunnel~10.0.0.1~a.b~b.svc.cluster.local', metadata: {} },
      credentials: async () => ({
        connection: { rootsPem: identity.rootPem },
        headers: { authorization: 'node-a' },
      }),
      clock: systemClock,
      random: () => 0,
      log: pino({ level: 'silent' }),
      onConfig: (config) => {
        configs.push(config)
        wake()
      },
      onRevocations: (lists) => {
        revocations.push(lists.length)
        wake()
      },
    })
    t.teardown(() => follower.stop())
    const until = async (holds: () => boolean): Promise<void> => {
      while (!holds()) await new Promise<void>((resolve) => (wake = resolve))
    }
    follower.start()
    await until(() => configs.length === 1)
    delta.publish(published([workload('shop/cart')]))
    await until(() => configs.at(-1)?.workloads.length === 1)
    await until(() => revocations.length === 1)
    delta.publishRevocations(Buffer.from(list + list))
    await until(() => revocations.length === 2)
    t.same(revocations, [1, 2])
    t.same(
      delta.clients()[0]?.types.map(({ typeUrl }) => typeUrl),
      [ADDRESS_TYPE, AUTHORIZATION_TYPE, REVOCATIONS_TYPE],
    )
    t.same(follower.status().refused, [])
  },
)
