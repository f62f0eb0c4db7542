// SPDX-License-Identifier: Apache-2.0
// The client that asks for single addresses against the controller's own sessions: what each side makes of the other.
import { create, fromBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { DeltaSession, type SessionResponse } from '../../../controller/publish/delta-session.ts'
import { encodeResponse, frameUnder } from '../../../controller/publish/encode.ts'
import { type Published, Publisher } from '../../../controller/publish/publisher.ts'
import { DeltaClient } from '../../../mesh/discovery/delta-client.ts'
import { DEMAND_IDLE_MS, Demand, MAX_DEMANDED_ADDRESSES } from '../../../mesh/discovery/demand.ts'
import {
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../../proto/generated/envoy/discovery_pb.js'
import {
  GatewayAddressSchema,
  NamespacedHostnameSchema,
  type Service,
  ServiceSchema,
  type Workload,
} from '../../../proto/generated/istio/workload_pb.js'
import { published, service, workload } from '../../support/published.ts'

const NODE = 'node-a'
const bytes = (...ip: number[]): Uint8Array => Uint8Array.from(ip)

/** A node and its controller, without a wire. */
class Pair {
  readonly publisher = new Publisher()
  readonly keys = new Demand(NODE)
  client = new DeltaClient({ id: 'ztunnel~1', metadata: {} })
  requests = 0
  #session: DeltaSession | null = null

  /** A new stream. */
  connect(): this {
    this.#session = new DeltaSession(this.publisher.sourceFor({ node: NODE, accounts: [] }, () => {}))
    for (const greeting of this.client.greetings(this.keys.greeting())) this.#session.onRequest(greeting)
    this.settle()
    return this
  }

  disconnect(): void {
    this.#session = null
  }

  publish(next: Published): void {
    this.publisher.publish(next)
    this.settle()
  }

  use(key: string, nowMs = 0): void {
    this.keys.use(key, nowMs)
    this.settle()
  }

  /** Everything that either has to say is said. */
  settle(): void {
    const session = this.#session
    if (session === null) return
    while (true) {
      const { subscribe, unsubscribe } = this.keys.take()
      if (subscribe.length + unsubscribe.length > 0) {
        this.requests++
        session.onRequest(this.client.demandRequest(subscribe, unsubscribe))
      }
      const response = session.next()
      if (response === null) return
      const { answer, named } = this.client.apply(toMessage(response))
      this.keys.onAnswered(named, true)
      this.keys.onAnswered(response.removed, false)
      this.keys.update(this.client.config())
      session.onRequest(answer)
    }
  }

  get names(): string[] {
    const { workloads, services } = this.client.config()
    return [...workloads.map(({ name }) => name), ...services.map(({ hostname }) => hostname)].toSorted()
  }
}

function toMessage({ typeUrl, nonce, answers, removed }: SessionResponse): DeltaDiscoveryResponse {
  const frames = answers.map(({ name, resource }) => frameUnder(name, resource))
  return fromBinary(DeltaDiscoveryResponseSchema, encodeResponse(typeUrl, nonce, frames, removed))
}

const behind = (key: string, ip: readonly number[], waypoint: string): Service => {
  const value = create(NamespacedHostnameSchema, { namespace: 'shop', hostname: waypoint })
  const gateway = { destination: { case: 'hostname' as const, value }, hboneMtlsPort: 15008 }
  return create(ServiceSchema, { ...service(key, ip), waypoint: create(GatewayAddressSchema, gateway) })
}

const far = (name: string, last: number, ...services: string[]): Workload =>
  workload(`shop/${name}`, { ip: [10, 0, 0, last], node: 'node-b', services })

t.test('the pods of the node are there, everything else comes when it is called', async (t) => {
  const pair = new Pair()
  pair.publisher.publish(
    published(
      [
        workload('shop/own', { ip: [10, 1, 0, 1] }),
        far('cart-0', 1, 'shop/cart'),
        far('cart-1', 2, 'shop/cart'),
        far('web', 3),
      ],
      [service('shop/cart', [10, 96, 0, 1])],
    ),
  )
  pair.connect()
  t.same(pair.names, ['own'])
  t.notOk(pair.keys.isSettled('/10.96.0.1'))
  pair.use('/10.96.0.1')
  t.same(pair.names, ['cart', 'cart-0', 'cart-1', 'own'])
  t.ok(pair.keys.isSettled('/10.96.0.1'))
  pair.use('/10.0.0.3')
  t.same(pair.names, ['cart', 'cart-0', 'cart-1', 'own', 'web'])
  const before = pair.requests
  pair.use('/10.0.0.3')
  t.equal(pair.requests, before, 'nothing is asked for twice')
})

t.test('an address that nobody has is settled too, and told when somebody gets it', async (t) => {
  const pair = new Pair().connect()
  pair.use('/192.0.2.1')
  t.ok(pair.keys.isSettled('/192.0.2.1'))
  t.same(pair.names, [])
  pair.publish(published([workload('shop/late', { ip: [192, 0, 2, 1], node: 'node-b' })]))
  t.same(pair.names, ['late'])
})

t.test('before a service is called its waypoint is known, with its pods', async (t) => {
  const pair = new Pair()
  pair.publisher.publish(
    published(
      [far('cart', 1, 'shop/cart'), far('wp', 2, 'shop/wp')],
      [behind('shop/cart', [10, 96, 0, 1], 'wp'), service('shop/wp', [10, 96, 0, 2])],
    ),
  )
  pair.connect()
  pair.use('/10.96.0.1')
  t.same(pair.names, ['cart', 'cart', 'wp', 'wp'])
  t.ok(pair.keys.isSettled('/10.96.0.1'))
})

t.test('while the waypoint is not known the service is not settled', async (t) => {
  const keys = new Demand(NODE)
  const pair = new Pair()
  pair.publisher.publish(published([], [behind('shop/cart', [10, 96, 0, 1], 'wp')]))
  pair.connect()
  pair.use('/10.96.0.1')
  keys.use('/10.96.0.1', 0)
  keys.onAnswered(['/10.96.0.1'], true)
  keys.update(pair.client.config())
  t.notOk(keys.isSettled('/10.96.0.1'))
  t.same(keys.take().subscribe, ['/10.96.0.1', 'shop/wp'])
  keys.onAnswered(['shop/wp'], false)
  t.ok(keys.isSettled('/10.96.0.1'), 'there is none, and the model says so')
})

t.test('what stands before the pods of the node is known without a call', async (t) => {
  const pair = new Pair()
  const own = workload('shop/own', { ip: [10, 1, 0, 1], services: ['shop/cart'] })
  pair.publisher.publish(
    published(
      [own, far('wp', 2, 'shop/wp')],
      [behind('shop/cart', [10, 96, 0, 1], 'wp'), service('shop/wp', [10, 96, 0, 2])],
    ),
  )
  pair.connect()
  t.same(pair.names, ['cart', 'own', 'wp', 'wp'])
  pair.publish(published([own, far('wp', 2, 'shop/wp')], [service('shop/cart', [10, 96, 0, 1])]))
  t.same(pair.names, ['cart', 'own'], 'a waypoint that nobody needs any more is given back')
})

t.test('services that share an address, or answer for a range, all come', async (t) => {
  const range = create(ServiceSchema, {
    ...{ name: 'wide', namespace: 'bank', hostname: 'wide' },
    addresses: [{ network: '', address: bytes(10, 50, 0, 0), length: 16 }],
  })
  const pair = new Pair()
  pair.publisher.publish(
    published(
      [far('a', 1, 'shop/one'), far('b', 2, 'bank/two')],
      [service('shop/one', [10, 96, 0, 1]), service('bank/two', [10, 96, 0, 1]), range],
    ),
  )
  pair.connect()
  pair.use('/10.96.0.1')
  t.same(pair.names, ['a', 'b', 'one', 'two'])
  pair.use('/10.50.3.4')
  t.same(pair.names, ['a', 'b', 'one', 'two', 'wide'])
  pair.use('/10.51.3.4')
  t.same(pair.names, ['a', 'b', 'one', 'two', 'wide'])
})

t.test('another stream goes on where the last one ended', async (t) => {
  const pair = new Pair()
  pair.publisher.publish(
    published([far('cart', 1, 'shop/cart'), far('web', 3)], [service('shop/cart', [10, 96, 0, 1])]),
  )
  pair.connect()
  pair.use('/10.96.0.1')
  pair.disconnect()
  pair.use('/10.0.0.3')
  t.notOk(pair.keys.isSettled('/10.0.0.3'), 'there was nobody to ask')
  t.ok(pair.keys.isSettled('/10.96.0.1'))
  pair.publisher.publish(
    published([far('cart', 4, 'shop/cart'), far('web', 3)], [service('shop/cart', [10, 96, 0, 1])]),
  )
  pair.connect()
  t.same(pair.names, ['cart', 'cart', 'web'])
  t.same(pair.client.config().workloads.find(({ name }) => name === 'cart')?.workloadIps, ['10.0.0.4'])
})

t.test('what nobody calls any more is given back; what is called stays', async (t) => {
  const pair = new Pair()
  pair.publisher.publish(published([far('cart', 1), far('web', 3)]))
  pair.connect()
  pair.use('/10.0.0.1', 0)
  pair.use('/10.0.0.3', 0)
  t.notOk(pair.keys.isAgeing(DEMAND_IDLE_MS / 2 - 1))
  t.ok(pair.keys.isAgeing(DEMAND_IDLE_MS / 2))
  pair.use('/10.0.0.3', DEMAND_IDLE_MS / 2)
  t.ok(pair.keys.expire(DEMAND_IDLE_MS))
  pair.keys.update(pair.client.config())
  pair.settle()
  t.same(pair.names, ['web'])
  t.notOk(pair.keys.isSettled('/10.0.0.1'))
})

t.test('who calls every address there is displaces strangers first, and memory is bounded', async (t) => {
  const keys = new Demand(NODE)
  keys.use('/10.0.0.1', 0)
  keys.onAnswered(['/10.0.0.1'], true)
  for (let index = 0; index < 3 * MAX_DEMANDED_ADDRESSES; index++) {
    const key = `/172.16.${index >> 8}.${index & 255}`
    keys.use(key, index)
    keys.onAnswered([key], false)
  }
  t.equal(keys.size, MAX_DEMANDED_ADDRESSES)
  t.ok(keys.isSettled('/10.0.0.1'))
})

t.test('a resource that is refused settles nothing: its address is not taken for a stranger’s', async (t) => {
  const pair = new Pair()
  pair.publisher.publish(published([far('cart', 1)]))
  pair.connect()
  const broken = create(DeltaDiscoveryResponseSchema, {
    typeUrl: 'type.googleapis.com/istio.workload.Address',
    resources: [{ name: '/10.0.0.9', version: '1', resource: { value: bytes(255, 255) } }],
  })
  pair.keys.use('/10.0.0.9', 0)
  const { named, refused } = pair.client.apply(broken)
  t.equal(refused.length, 1)
  pair.keys.onAnswered(named, true)
  t.notOk(pair.keys.isSettled('/10.0.0.9'))
})

t.test('of ten thousand workloads a node holds the fifty that it uses', async (t) => {
  const pair = new Pair()
  const many = Array.from({ length: 10_000 }, (_, index) =>
    workload(`shop/w${index}`, { ip: [10, 2, index >> 8, index & 255], node: `node-${index % 200}` }),
  )
  pair.publisher.publish(published(many))
  pair.connect()
  for (let index = 0; index < 50; index++) pair.use(`/10.2.0.${index}`)
  t.equal(pair.client.config().workloads.length, 50)
})
