// SPDX-License-Identifier: Apache-2.0
// Endpoints outside of the mesh, over real sockets. Tunnels are in test/netns/waypoint.ts: they need nodes.
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { isRefusal, type Refusal } from '../../../mesh/errors/refusal.ts'
import { RevokedPeers } from '../../../mesh/identity/revoked-peers.ts'
import { WorkerIdentities } from '../../../mesh/identity/worker-identities.ts'
import type { ByteStream } from '../../../mesh/reactor/byte-stream.ts'
import { EndpointDialer } from '../../../waypoint/carry/endpoint-dialer.ts'
import type { EndpointView } from '../../../waypoint/upstream/cluster-view.ts'
import { ReactorHost } from '../../support/reactor-host.ts'
import { ignoringHandler } from '../../support/reactor-pairs.ts'

function plainEndpoint(port: number): EndpointView {
  return {
    ...{ key: 'e', ip: '127.0.0.1', port, protocol: 'TCP', identity: '', node: 'n', weight: 1 },
    ...{ localityRank: 0, labels: {} },
  }
}

function createDialer(t: Test): EndpointDialer {
  const host = new ReactorHost()
  t.teardown(() => host.close())
  const { reactor, resources } = host
  const identities = new WorkerIdentities()
  const revoked = new RevokedPeers(reactor, () => {})
  return new EndpointDialer({ reactor, resources, identities, revoked, identity: '', baggage: '' })
}

const dial = (dialer: EndpointDialer, port: number): Promise<ByteStream | Refusal> =>
  new Promise((resolve) => {
    dialer.dial(plainEndpoint(port), '', (result) => {
      if (!isRefusal(result)) result.setHandler(ignoringHandler)
      resolve(result)
    })
  })

t.test('an endpoint outside of the mesh is reached plainly, and its connection ends in order', async (t) => {
  const server = createServer({ allowHalfOpen: false }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const accepted = once(server, 'connection')
  const stream = await dial(createDialer(t), (server.address() as AddressInfo).port) // as: it listens on TCP
  if (isRefusal(stream)) throw new Error(stream.detail)
  const [socket] = await accepted
  const ended = once(socket, 'end')
  socket.resume()
  stream.end()
  await ended
  t.equal(socket.bytesRead, 0)
  stream.destroy({ code: 'OK', detail: '' })
})

t.test('where nothing listens, that is told', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: it listens on TCP
  server.close()
  await once(server, 'close')
  t.match(await dial(createDialer(t), port), { code: 'ENDPOINT_REFUSED' })
})
