// SPDX-License-Identifier: Apache-2.0
// The client against the controller's own server, over real TLS and gRPC.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { DeltaServer } from '../../../controller/publish/delta-server.ts'
import { type Published, Publisher } from '../../../controller/publish/publisher.ts'
import { DiscoveryClient, type DiscoveryClientOptions } from '../../../mesh/discovery/discovery-client.ts'
import type { DiscoveryJournal } from '../../../mesh/discovery/discovery-journal.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { GrpcMethod, ServerStream } from '../../../mesh/grpc/calls.ts'
import { GrpcServer } from '../../../mesh/grpc/server.ts'
import type { MeshConfig } from '../../../mesh/model/mesh-state.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { Scope } from '../../../proto/generated/istio/authorization_pb.js'
import { policy, published, service, workload } from '../../support/published.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

const identity = await serverCertificate()
const log = pino({ level: 'silent' })
const TOKEN = 'Bearer of-node-a'

interface Controller {
  readonly delta: DeltaServer
  readonly address: string
  readonly stop: () => Promise<void>
}

async function controller(
  t: Test,
  port = 0,
  wrap = (method: GrpcMethod): GrpcMethod => method,
): Promise<Controller> {
  const delta = new DeltaServer({
    publisher: new Publisher(),
    authenticate: async (metadata) => {
      if (metadata.get('authorization') !== TOKEN) throw new MeshError('IDENTITY_MISSING', { detail: 'who?' })
      return { node: 'node-a', accounts: ['test'], description: 'test' }
    },
    clock: systemClock,
    log,
  })
  const server = await GrpcServer.start({ host: '127.0.0.1', port, identity, methods: [wrap(delta.method)] })
  const stop = async (): Promise<void> => {
    delta.close()
    await server.stop(100)
  }
  t.teardown(stop)
  return { delta, address: `localhost:${server.port}`, stop }
}

interface Follower {
  readonly client: DiscoveryClient
  readonly configs: MeshConfig[]
  until(holds: (config: MeshConfig) => boolean): Promise<MeshConfig>
}

function follow(
  t: Test,
  addresses: readonly string[],
  options: Partial<DiscoveryClientOptions> = {},
): Follower {
  const configs: MeshConfig[] = []
  let wake = (): void => {}
  const client = new DiscoveryClient({
    addresses,
    node: {
      id: 'ztunnel~10.0.0.1~zt.istio-system~istio-system.svc.cluster.local',
      metadata: { NODE_NAME: 'node-a' },
    },
    credentials: async () => ({
      connection: { rootsPem: identity.rootPem },
      headers: { authorization: TOKEN },
    }),
    clock: systemClock,
    random: () => 0,
    log,
    onConfig: (config) => {
      configs.push(config)
      wake()
    },
    ...options,
  })
  t.teardown(() => client.stop())
  client.start()
  const until = async (holds: (config: MeshConfig) => boolean): Promise<MeshConfig> => {
    while (true) {
      const last = configs.at(-1)
      if (last !== undefined && holds(last)) return last
      await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  return { client, configs, until }
}

const uids = (config: MeshConfig): string[] => config.workloads.map(({ uid }) => uid).toSorted()
const pods = (...names: string[]): Published => published(names.map((name) => workload(`shop/${name}`)))
const uidOf = (name: string): string => `Kubernetes//Pod/shop/${name}`

t.test('a configuration is told once it is whole, and after every change', async (t) => {
  const { delta, address } = await controller(t)
  delta.publish(
    published(
      [workload('shop/cart', { ip: [10, 0, 0, 1] })],
      [service('shop/cart.shop.svc', [10, 96, 0, 1])],
      [policy('shop/p', Scope.NAMESPACE)],
    ),
  )
  const { client, configs, until } = follow(t, [address])
  const first = await until(() => true)
  t.match(first, {
    workloads: [{ uid: uidOf('cart'), workloadIps: ['10.0.0.1'] }],
    services: [{ hostname: 'cart.shop.svc', vips: [{ network: '', ip: '10.96.0.1' }] }],
    policies: [{ name: 'p', scope: 'Namespace' }],
  })
  t.equal(configs.length, 1)
  delta.publish(pods('web'))
  const next = await until(({ services, policies }) => services.length + policies.length === 0)
  t.same(uids(next), [uidOf('web')])
  t.match(client.status(), { isConnected: true, address, refused: { length: 0 } })
})

t.test('when the controller goes, what is known stays; the next one tells what differs', async (t) => {
  const first = await controller(t)
  const second = await controller(t)
  first.delta.publish(pods('cart', 'web'))
  second.delta.publish(pods('cart', 'api'))
  const { client, configs, until } = follow(t, [first.address, second.address])
  await until(() => true)
  const before = configs.length
  await first.stop()
  const config = await until((latest) => uids(latest).includes(uidOf('api')))
  t.same(uids(config), [uidOf('api'), uidOf('cart')])
  t.ok(
    configs.slice(before).every(({ workloads }) => workloads.length > 0),
    'never empty in between',
  )
  t.match(client.status(), { isConnected: true, address: second.address })
})

t.test('an address where nobody answers is passed over', async (t) => {
  const mute = createServer((socket) => t.teardown(() => socket.destroy())).listen(0, '127.0.0.1')
  t.teardown(() => mute.close())
  await once(mute, 'listening')
  const { port } = mute.address() as { port: number } // as: it listens on an IP
  const good = await controller(t)
  good.delta.publish(pods('cart'))
  const { until } = follow(t, ['localhost:1', `localhost:${port}`, good.address])
  await until(() => true)
  t.pass()
})

t.test('credentials that are missing or refused are tried again with pauses', async (t) => {
  const { delta, address } = await controller(t)
  delta.publish(pods('cart'))
  let asked = 0
  const { client, until } = follow(t, [address], {
    credentials: async () => {
      asked++
      if (asked === 1) throw new MeshError('IDENTITY_MISSING', { detail: 'no token file' })
      const token = asked === 2 ? 'Bearer stolen' : TOKEN
      return { connection: { rootsPem: identity.rootPem }, headers: { authorization: token } }
    },
  })
  await until(() => true)
  t.equal(asked, 3)
  t.match(client.status().lastFailure, /16 IDENTITY_MISSING: who\?/)
})

t.test('a server under another root is not believed', async (t) => {
  const { delta, address } = await controller(t)
  delta.publish(pods('cart'))
  const other = await serverCertificate()
  const { client, configs } = follow(t, [address], {
    credentials: async () => ({ connection: { rootsPem: other.rootPem }, headers: { authorization: TOKEN } }),
  })
  while (client.status().lastFailure === '') await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(configs.length, 0)
  t.match(client.status(), { isConnected: false, lastFailure: /self-signed|unable to|14/ })
})

t.test('one bad resource is refused by name, the others are in force, the server hears of it', async (t) => {
  const { delta, address } = await controller(t)
  const bad = workload('shop/bad', { ip: [1, 2, 3] })
  delta.publish(published([workload('shop/cart'), bad]))
  const { client, until } = follow(t, [address])
  const config = await until(() => true)
  t.same(uids(config), [uidOf('cart')])
  t.match(client.status().refused, [{ name: uidOf('bad'), message: /3 bytes/ }])
  t.match(delta.refused(), [{ name: uidOf('bad') }])
  delta.publish(published([workload('shop/cart'), workload('shop/bad', { ip: [1, 2, 3, 4] })]))
  await until((latest) => latest.workloads.length === 2)
  t.equal(client.status().refused.length, 0)
})

t.test('a server that talks nonsense is left', async (t) => {
  const good = await controller(t)
  good.delta.publish(pods('cart'))
  const nonsense = await controller(t, 0, (method) => ({
    kind: 'stream',
    path: method.path,
    handle: (stream) => {
      stream.start({
        onMessage: () => stream.write(Buffer.of(0xff, 0xff)),
        onEnd() {},
        onDrain() {},
        onClose() {},
      })
    },
  }))
  const { client, until } = follow(t, [nonsense.address, good.address])
  await until(() => true)
  t.match(client.status(), { address: good.address, lastFailure: /no response/ })
})

const PEM = (text: string): string =>
  `-----BEGIN X509 CRL-----\n${Buffer.from(text).toString('base64')}\n-----END X509 CRL-----\n`

t.test('revocation lists come after the configuration, and are no change of it', async (t) => {
  const { delta, address } = await controller(t)
  delta.publish(pods('cart'))
  const told: string[][] = []
  let wake = (): void => {}
  const toldTimes = async (count: number): Promise<void> => {
    while (told.length < count) await new Promise<void>((resolve) => (wake = resolve))
  }
  const { client, configs, until } = follow(t, [address], {
    onRevocations: (lists) => {
      told.push(lists.map(String))
      wake()
    },
  })
  await until(() => true)
  t.same(told, [], 'a controller that has not read them yet holds nobody up')
  delta.publishRevocations(Buffer.from(PEM('one') + PEM('two')))
  await toldTimes(1)
  delta.publishRevocations(Buffer.from('garbage'))
  while (delta.refused().length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.match(delta.refused(), [{ name: 'default', message: /no revocation list/ }])
  t.match(client.status().refused, [{ name: 'default', message: 'no revocation list' }])
  delta.publishRevocations(null)
  delta.publishRevocations(Buffer.from(PEM('three')))
  await toldTimes(2)
  t.same(told, [['one', 'two'], ['three']])
  t.equal(configs.length, 1)
  t.match(client.status(), { isConnected: true, refused: { length: 0 } })
})

t.test('a server that cannot bear the question for revocation lists is not asked again', async (t) => {
  let asked = 0
  const { delta, address } = await controller(t, 0, (method) =>
    method.kind !== 'stream'
      ? method
      : {
          ...method,
          handle: (stream: ServerStream) =>
            method.handle({
              ...{ metadata: stream.metadata, peer: stream.peer, signal: stream.signal },
              ...{ write: (bytes) => stream.write(bytes), unsentBytes: 0 },
              ...{ pause: () => stream.pause(), resume: () => stream.resume(), end: () => stream.end() },
              fail: (error) => stream.fail(error),
              start: (handler) =>
                stream.start({
                  ...{ onEnd: () => handler.onEnd(), onDrain: () => handler.onDrain() },
                  onClose: () => handler.onClose(),
                  onMessage: (bytes: Buffer) => {
                    if (!bytes.includes('sidestep.v1.Revocations')) handler.onMessage(bytes)
                    else if (++asked)
                      stream.fail(new MeshError('CONNECT_METHOD', { detail: 'what is that?' }))
                  },
                }),
            }),
        },
  )
  delta.publish(pods('cart'))
  const { client, configs, until } = follow(t, [address])
  await until(() => true)
  while (client.status().lastFailure === '') await new Promise((resolve) => setTimeout(resolve, 5))
  t.match(client.status().lastFailure, /what is that/)
  delta.publish(pods('cart', 'web'))
  await until(({ workloads }) => workloads.length === 2)
  delta.publish(pods('web'))
  await until(({ workloads }) => workloads.length === 1)
  t.equal(asked, 1)
  t.ok(client.status().isConnected)
  t.ok(
    configs.every(({ workloads }) => workloads.length > 0),
    'never empty in between',
  )
})

/** A journal in memory; `end` is what a later run reads. */
function memoryJournal(
  responses: readonly Buffer[] = [],
  savedMs: number | null = responses.length === 0 ? null : 1,
) {
  const kept = [...responses]
  const confirmed: boolean[] = []
  const journal: DiscoveryJournal = {
    read: async (onResponse) => {
      for (const response of responses) onResponse(response)
      return savedMs
    },
    append: (response) => void kept.push(Buffer.from(response)),
    setConfirmed: (isConfirmed) => void confirmed.push(isConfirmed),
    close: async () => {},
  }
  return { journal, kept, confirmed }
}

/** What a client of this configuration has kept. */
async function keptOf(t: Test, config: Published): Promise<readonly Buffer[]> {
  const { delta, address, stop } = await controller(t)
  delta.publish(config)
  const { journal, kept } = memoryJournal()
  const { client, until } = follow(t, [address], { journal })
  await until(() => true)
  client.stop()
  await stop()
  return kept
}

t.test('a client that starts without a controller goes on where an earlier one ended', async (t) => {
  const kept = await keptOf(t, pods('cart', 'web'))
  t.equal(kept.length, 2, 'one response of each type')
  const { client, until } = follow(t, ['localhost:1'], { journal: memoryJournal(kept, 77).journal })
  t.same(uids(await until(() => true)), [uidOf('cart'), uidOf('web')])
  t.match(client.status(), { configuration: 'snapshot', snapshotMs: 77, isConnected: false })
})

t.test('what may not be used is not: no configuration, and everything is asked for again', async (t) => {
  const kept = await keptOf(t, pods('cart'))
  const refused = follow(t, ['localhost:1'], { journal: memoryJournal(kept, null).journal })
  while (refused.client.status().lastFailure === '') await new Promise((resolve) => setTimeout(resolve, 5))
  t.same(refused.configs, [])
  const half = follow(t, ['localhost:1'], { journal: memoryJournal(kept.slice(0, 1)).journal })
  while (half.client.status().lastFailure === '') await new Promise((resolve) => setTimeout(resolve, 5))
  t.same(half.configs, [], 'half a configuration is none')
})

t.test('a silent controller is waited for no longer than a second', async (t) => {
  const kept = await keptOf(t, pods('cart'))
  const mute = createServer((socket) => t.teardown(() => socket.destroy())).listen(0, '127.0.0.1')
  t.teardown(() => mute.close())
  await once(mute, 'listening')
  const { port } = mute.address() as { port: number } // as: it listens on an IP
  const startedMs = performance.now()
  const { until, client } = follow(t, [`localhost:${port}`], { journal: memoryJournal(kept).journal })
  await until(() => true)
  const tookMs = performance.now() - startedMs
  t.ok(tookMs > 900 && tookMs < 3000, `${tookMs}`)
  t.equal(client.status().lastFailure, '')
})

t.test('a controller that is there says only what differs, and that is kept too', async (t) => {
  const kept = await keptOf(t, pods('cart', 'web', 'old'))
  const { delta, address } = await controller(t, 0, (method) =>
    method.kind !== 'stream'
      ? method
      : {
          ...method,
          handle: (stream: ServerStream) =>
            method.handle({
              ...{ metadata: stream.metadata, peer: stream.peer, signal: stream.signal },
              write: (bytes) => {
                sent.push(Buffer.from(bytes))
                return stream.write(bytes)
              },
              ...{ unsentBytes: 0, pause: () => stream.pause(), resume: () => stream.resume() },
              ...{ end: () => stream.end(), fail: (error) => stream.fail(error) },
              start: (handler) => stream.start(handler),
            }),
        },
  )
  const sent: Buffer[] = []
  delta.publish(pods('cart', 'web', 'new'))
  const { journal, kept: more, confirmed } = memoryJournal(kept)
  const { client, configs, until } = follow(t, [address], { journal })
  const config = await until(() => true)
  t.same(uids(config), [uidOf('cart'), uidOf('new'), uidOf('web')])
  t.equal(configs.length, 1, 'the saved one was never in force')
  t.match(client.status(), { configuration: 'controller' })
  t.same(confirmed, [true])
  const all = Buffer.concat(sent)
  t.ok(all.includes('shop/new') && all.includes('shop/old'), 'the new one, and that the old one is gone')
  t.notOk(all.includes('shop/cart') || all.includes('shop/web'))
  t.equal(more.length, kept.length + 1)
})

t.test('the controller comes later: what is in force is told again only when it differs', async (t) => {
  const kept = await keptOf(t, pods('cart'))
  const { delta, address, stop } = await controller(t)
  delta.publish(pods('cart'))
  const { client, configs } = follow(t, ['localhost:1', address], { journal: memoryJournal(kept).journal })
  while (client.status().configuration !== 'controller')
    await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(configs.length, 1)
  t.ok(Number.isNaN(client.status().snapshotMs))
  await stop()
})
