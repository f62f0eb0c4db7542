// SPDX-License-Identifier: Apache-2.0
// Istio's ztunnel as source, ours as destination: addresses, identities, streams, refusals and drain. Its traffic is
// redirected to it in its pod's namespace, as an agent would. Needs ZTUNNEL_BIN and root.
import t, { type Test } from 'tap'
import {
  CART_IP,
  CART_VIP,
  echoes,
  greeted,
  HBONE_PORT,
  type IstioLab,
  identity,
  isOver,
  ONE_TEST,
  PEER_IP,
  REQUEST,
  startIstioLab,
  testStreams,
} from '../support/istio-lab.ts'
import { poll } from '../support/mesh-lab.ts'

async function testAddresses(t: Test, { lab, istio }: IstioLab): Promise<void> {
  for (const [how, ip, port] of [
    ['pod', CART_IP, 9001],
    ['service', CART_VIP, 91],
  ] as const) {
    await t.test(`by ${how} address both ends record the same connection`, ONE_TEST, async (t) => {
      const known = { theirs: istio.records.length, ours: (await lab.records('n2')).length }
      const socket = await greeted(lab, 'stranger', ip, port)
      t.ok(await echoes(socket, 'hello'))
      socket.end()
      await socket.until('the end', ({ isClosed }) => isClosed)
      t.equal(socket.error, '')
      const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'outbound')
      const [ours, ...others] = await lab.recordsAfter('n2', known.ours, () => true)
      t.same(others, [])
      t.match(theirs, {
        'dst.addr': `${CART_IP}:${HBONE_PORT}`,
        'dst.hbone_addr': `${CART_IP}:9001`,
        'dst.identity': identity('cart'),
        bytes_sent: 5,
        bytes_recv: socket.text.length,
      })
      t.equal(
        theirs['dst.service'],
        how === 'service' ? 'cart.shop.svc.cluster.local' : theirs['dst.service'],
      )
      t.match(ours, {
        reason: 'OK',
        direction: 'inbound',
        transport: 'HBONE',
        'src.addr': new RegExp(`^${PEER_IP}:`),
        'src.identity': identity('peer'),
        'dst.hbone_addr': theirs['dst.hbone_addr'],
        'dst.identity': identity('cart'),
        bytes_recv: 5,
        bytes_sent: socket.text.length,
      })
    })
  }

  await t.test('its certificate came from the CA of our ztunnels', ONE_TEST, async (t) => {
    t.ok(istio.askedIdentities.length > 0)
    t.ok(istio.askedIdentities.every((asked) => asked === identity('peer')))
  })
}

async function testRefusals(t: Test, { lab, istio }: IstioLab): Promise<void> {
  for (const [what, port, error, reason] of [
    ['a policy at our end', 8080, /401/, 'POLICY_DENY'],
    ['a port nobody listens on', 9999, /503/, 'ENDPOINT_REFUSED'],
  ] as const) {
    await t.test(`${what} refuses, and both ends say so`, ONE_TEST, async (t) => {
      const known = { theirs: istio.records.length, ours: (await lab.records('n2')).length }
      const socket = lab.connect('stranger', CART_IP, port)
      socket.write(REQUEST)
      await socket.until('refused', isOver)
      t.equal(socket.text, '')
      const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'outbound')
      t.match(theirs.error, error)
      const [ours] = await lab.recordsAfter('n2', known.ours, () => true)
      t.match(ours, { reason, 'src.identity': identity('peer'), bytes_recv: 0 })
      if (reason === 'POLICY_DENY') t.equal(ours?.policy, 'shop/no-peer-http')
      socket.destroy()
    })
  }
}

async function testDrain(t: Test, { lab, istio }: IstioLab): Promise<void> {
  await t.test('a draining node of ours lets the stream run on to its end', ONE_TEST, async (t) => {
    const socket = await greeted(lab, 'stranger', CART_IP)
    const stopped = lab.stop('n2')
    await poll('draining', () => lab.log('n2').includes('"msg":"draining"') || null)
    t.ok(await echoes(socket, 'still here'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    t.equal(await stopped, '0')
    t.notOk(istio.hasEnded)
  })
}

t.test('Istio’s ztunnel as source', { timeout: 90_000 }, async (t) => {
  const peers = await startIstioLab(t)
  await testAddresses(t, peers)
  await testStreams(t, peers.lab, 'stranger', CART_IP)
  await testRefusals(t, peers)
  await testDrain(t, peers)
})
