// SPDX-License-Identifier: Apache-2.0
// Our ztunnel as source, Istio's as destination: addresses, identities, the client's address, streams, refusals and
// its end under open streams. Needs ZTUNNEL_BIN and root.
import t, { type Test } from 'tap'
import {
  echoes,
  greeted,
  HBONE_PORT,
  type IstioLab,
  identity,
  isOver,
  ONE_TEST,
  PEER_IP,
  PEER_VIP,
  REQUEST,
  startIstioLab,
  testStreams,
} from '../support/istio-lab.ts'
import { type LabRecord, poll } from '../support/mesh-lab.ts'

const isOutbound = ({ direction }: LabRecord): boolean => direction === 'outbound'

async function testAddresses(t: Test, { lab, istio }: IstioLab): Promise<void> {
  for (const [how, ip, port] of [
    ['pod', PEER_IP, 8080],
    ['service', PEER_VIP, 80],
  ] as const) {
    await t.test(
      `by ${how} address the server sees its client, both ends record the same`,
      ONE_TEST,
      async (t) => {
        const known = { theirs: istio.records.length, ours: (await lab.records('n1')).length }
        const socket = lab.connect('front', ip, port)
        socket.write(REQUEST)
        await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
        t.match(socket.text, /200 OK[\s\S]*client 10\.1\.0\.1$/, 'the address of the client is kept')
        socket.end()
        await socket.until('the end', ({ isClosed }) => isClosed)
        const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'inbound')
        const [ours, ...others] = await lab.recordsAfter('n1', known.ours, isOutbound)
        t.same(others, [])
        t.match(ours, {
          reason: 'OK',
          transport: 'HBONE',
          'dst.addr': `${PEER_IP}:${HBONE_PORT}`,
          'dst.hbone_addr': `${PEER_IP}:8080`,
          'dst.identity': identity('peer'),
          'dst.workload': 'peer',
          bytes_sent: REQUEST.length,
          bytes_recv: socket.text.length,
        })
        if (how === 'service') t.equal(ours?.['dst.service'], 'peer.shop.svc.cluster.local')
        t.match(theirs, {
          'src.identity': identity('front'),
          'src.workload': 'front',
          'src.namespace': 'shop',
          'dst.hbone_addr': `${PEER_IP}:8080`,
          'dst.workload': 'peer',
          bytes_recv: REQUEST.length,
          bytes_sent: socket.text.length,
        })
        t.match(theirs['src.addr'], /^10\.1\.0\.1:/)
      },
    )
  }
}

async function testRefusals(t: Test, { lab, istio }: IstioLab): Promise<void> {
  for (const [what, pod, port, reason, detail] of [
    ['a policy at its end', 'batch', 9001, 'POLICY_DENY', /401/],
    ['a port nobody listens on', 'front', 9999, 'ENDPOINT_REFUSED', /503/],
  ] as const) {
    await t.test(`${what} refuses, and both ends say so`, ONE_TEST, async (t) => {
      const known = { theirs: istio.records.length, ours: (await lab.records('n1')).length }
      const socket = lab.connect(pod, PEER_IP, port)
      socket.write(REQUEST)
      await socket.until('refused', isOver)
      t.equal(socket.text, '')
      const [ours] = await lab.recordsAfter('n1', known.ours, isOutbound)
      t.match(ours, { reason, 'src.identity': identity(pod), bytes_sent: 0, bytes_recv: 0 })
      t.match(ours?.detail, detail)
      const theirs = await istio.recordAfter(known.theirs, ({ direction }) => direction === 'inbound')
      t.match(theirs.error, reason === 'POLICY_DENY' ? /policy rejection|no-batch/ : /refused/i)
      socket.destroy()
    })
  }
}

async function testDrain(t: Test, { lab, istio }: IstioLab): Promise<void> {
  await t.test('when it is told to end, its streams run on until they are done', ONE_TEST, async (t) => {
    const known = (await lab.records('n1')).length
    const socket = await greeted(lab, 'front', PEER_IP)
    const stopped = istio.stop()
    await poll('draining', () => istio.log.includes('drain') || null)
    t.ok(await echoes(socket, 'still here'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
    const [record] = await lab.recordsAfter('n1', known, isOutbound)
    t.match(record, { reason: 'OK' })
    await stopped
  })

  await t.test('when it is gone, the record of the next connection says so', ONE_TEST, async (t) => {
    const known = (await lab.records('n1')).length
    const socket = lab.connect('front', PEER_IP, 9001)
    await socket.until('refused', isOver)
    const [record] = await lab.recordsAfter('n1', known, isOutbound)
    t.match(record, { reason: 'HBONE_PORT_REFUSED', detail: `${PEER_IP}:${HBONE_PORT}: Connection refused` })
  })
}

t.test('Istio’s ztunnel as destination', { timeout: 90_000 }, async (t) => {
  const peers = await startIstioLab(t)
  await testAddresses(t, peers)
  await testStreams(t, peers.lab, 'front', PEER_IP)
  await testRefusals(t, peers)
  await testDrain(t, peers)
})
