// SPDX-License-Identifier: Apache-2.0
// What really crosses the link between the demo's nodes: TLS records of the tunnel, and no byte of what was sent.
import { createHash, randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { DemoCluster } from '../../demo/cluster.ts'
import { CART_VIP, type DemoPod, planDemo, SERVICE_PORT } from '../../demo/plan.ts'
import { countRuns, PacketCapture, tcpFlows, tlsRecordTypes } from '../support/packet-capture.ts'

const HBONE_PORT = 15_008
const APPLICATION_DATA = 0x17
const PAYLOAD_BYTES = 65_536
/** The link of node1 that leads to node2. */
const LINK = 'n2'

/** Sends a random order and returns what crossed the link meanwhile. */
async function captureOrder(
  t: Test,
  cluster: DemoCluster,
  from: DemoPod['name'],
  [ip, port]: readonly [string, number],
): Promise<{ readonly packets: readonly Buffer[]; readonly payload: Buffer }> {
  const payload = Buffer.from(randomBytes(PAYLOAD_BYTES * 0.75).toString('base64'))
  const namespace = cluster.network?.node('node1').namespace
  if (namespace === undefined) throw new Error('no network')
  const capture = PacketCapture.open(namespace, LINK)
  const answer = await cluster.call(from, ip, port, '/orders', payload.toString()).finally(() => {
    t.equal(capture.close(), 0, 'the capture is complete')
  })
  t.equal(answer.status, 200, answer.text)
  const { bodySha256 } = JSON.parse(answer.text) as { bodySha256: string } // as: our own service
  t.equal(bodySha256, createHash('sha256').update(payload).digest('hex'), 'the order arrived whole')
  return { packets: capture.packets, payload }
}

t.test('the link between two nodes', async (t) => {
  const cluster = await DemoCluster.start(planDemo('netns'), new AbortController().signal)
  t.teardown(() => cluster.close())

  await t.test('carries TLS records and no byte of the payload between enrolled pods', async (t) => {
    const { packets, payload } = await captureOrder(t, cluster, 'front', [CART_VIP, 80])
    const flows = tcpFlows(packets)
    const tunnel = flows.filter((flow) => [flow.sourcePort, flow.destinationPort].includes(HBONE_PORT))
    t.equal(tunnel.length, 2, 'one tunnel, both ways')
    t.equal(flows.length, 2, `nothing else: ${flows.map(({ name }) => name).join(', ')}`)
    for (const { name, bytes } of tunnel) {
      const types = tlsRecordTypes(bytes)
      t.ok(types?.includes(APPLICATION_DATA), `${name} is TLS with application data`)
    }
    const sent = tunnel.find(({ destinationPort }) => destinationPort === HBONE_PORT)
    t.ok((sent?.bytes.length ?? 0) > PAYLOAD_BYTES, 'the order crossed')
    t.equal(countRuns(Buffer.concat(packets), payload), 0, 'unreadably')
  })

  await t.test('carries the payload readably when the caller is not enrolled', async (t) => {
    const { packets, payload } = await captureOrder(t, cluster, 'legacy', ['10.2.0.2', SERVICE_PORT])
    // The proof that the question above can be answered with yes.
    t.ok(countRuns(Buffer.concat(packets), payload) > PAYLOAD_BYTES / 32)
    const sent = tcpFlows(packets).find(({ destinationPort }) => destinationPort === SERVICE_PORT)
    t.equal(tlsRecordTypes(sent?.bytes ?? Buffer.alloc(0)), null)
  })
})
