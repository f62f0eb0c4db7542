// SPDX-License-Identifier: Apache-2.0
// How connections end, as the applications at both ends hear it, by every way through a node: a tunnel, plaintext into the mesh
// and out of it, and two pods of one node. Resets of either side arrive as such, a server may end its half first, and
// a peer that vanishes without a word ends both legs.
import t, { type Test } from 'tap'
import { BULK_BYTES, bulkHash } from '../support/bulk-pattern.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const [GREETER_PORT, FAREWELL_PORT] = [9001, 9004] as const
const ONE_TEST = { timeout: 60_000 }
/** A silent peer is gone after 1 + 2 × 1 s. */
const KEEPALIVE = {
  SIDESTEP_KEEPALIVE_IDLE_SECONDS: '1',
  SIDESTEP_KEEPALIVE_INTERVAL_SECONDS: '1',
  SIDESTEP_KEEPALIVE_PROBES: '2',
}

/** Longer than it takes for a peer to be gone, in which it is there. */
const LONGER_MS = 4000

/** A way from one application to another, and where it is recorded. */
interface Way {
  readonly name: string
  readonly from: LabPod
  readonly to: LabPod
  readonly ip: string
  readonly records: ReadonlyArray<readonly [LabNode, 'outbound' | 'inbound']>
  readonly transport: 'HBONE' | 'TCP' | 'LOCAL'
  /** What the end says that did not see the reset itself. */
  readonly told: 'STREAM_RESET' | 'PEER_RESET'
}
const WAYS: readonly Way[] = [
  {
    ...{
      name: 'a tunnel',
      from: 'front',
      to: 'cart',
      ip: '10.2.0.1',
      transport: 'HBONE',
      told: 'STREAM_RESET',
    },
    records: [
      ['n1', 'outbound'],
      ['n2', 'inbound'],
    ],
  },
  {
    ...{
      name: 'plaintext into the mesh',
      from: 'stranger',
      to: 'cart',
      ip: '10.2.0.1',
      transport: 'TCP',
      told: 'PEER_RESET',
    },
    records: [['n2', 'inbound']],
  },
  {
    ...{
      name: 'plaintext out of the mesh',
      from: 'front',
      to: 'stranger',
      ip: '10.1.0.3',
      transport: 'TCP',
      told: 'PEER_RESET',
    },
    records: [['n1', 'outbound']],
  },
  {
    ...{
      name: 'two pods of a node',
      from: 'front',
      to: 'batch',
      ip: '10.1.0.2',
      transport: 'LOCAL',
      told: 'STREAM_RESET',
    },
    records: [
      ['n1', 'outbound'],
      ['n1', 'inbound'],
    ],
  },
]

/** Two pods of n1 are joined without a tunnel. */
const MESH = labMesh([]).replace(/(uid: (?:front|batch),.*)\}\n/g, '$1, sameNode: direct}\n')

const counts = async (lab: MeshLab): Promise<Record<LabNode, number>> => ({
  n1: (await lab.records('n1')).length,
  n2: (await lab.records('n2')).length,
})

/** One record at each place, with this reason and the transport of the way. */
async function assertRecords(
  t: Test,
  lab: MeshLab,
  way: Way,
  known: Record<LabNode, number>,
  reasons: Readonly<Record<'outbound' | 'inbound', string>>,
): Promise<void> {
  for (const [node, direction] of way.records) {
    const found = await lab.recordsAfter(node, known[node], (each) => each.direction === direction)
    t.equal(found.length, 1, `one record at ${node}, ${direction}`)
    t.match(found[0], { reason: reasons[direction], transport: way.transport })
  }
}

async function greeted(lab: MeshLab, { from, ip }: Way) {
  const socket = lab.connect(from, ip, GREETER_PORT)
  await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  return socket
}

async function testResets(t: Test, lab: MeshLab, way: Way): Promise<void> {
  await t.test(`${way.name}: a client that breaks off is heard by the server`, ONE_TEST, async (t) => {
    const known = await counts(lab)
    const before = lab.heard(way.to).length
    const socket = await greeted(lab, way)
    socket.reset()
    const heard = await poll('the server hears of it', () => lab.heard(way.to)[before] ?? null)
    t.equal(heard, `${GREETER_PORT} ECONNRESET`)
    await assertRecords(t, lab, way, known, { outbound: 'PEER_RESET', inbound: way.told })
  })

  await t.test(`${way.name}: a server that breaks off is heard by the client`, ONE_TEST, async (t) => {
    const known = await counts(lab)
    const socket = await greeted(lab, way)
    socket.write('reset')
    await socket.until('its end', ({ isClosed }) => isClosed)
    t.same({ error: socket.error, hasEnded: socket.hasEnded }, { error: 'ECONNRESET', hasEnded: false })
    await assertRecords(t, lab, way, known, { outbound: way.told, inbound: 'PEER_RESET' })
  })
}

async function testHalves(t: Test, lab: MeshLab, way: Way): Promise<void> {
  await t.test(
    `${way.name}: a server ends its half first, and reads all that comes then`,
    ONE_TEST,
    async (t) => {
      const known = await counts(lab)
      const before = lab.heard(way.to).length
      const socket = lab.connect(way.from, way.ip, FAREWELL_PORT)
      await socket.until('the server’s end', ({ hasEnded }) => hasEnded)
      t.equal(socket.text, 'bye\r\n')
      t.equal(socket.isClosed, false)
      socket.writeBulk()
      const heard = await poll('the server has read it', () => lab.heard(way.to)[before] ?? null)
      t.equal(heard, `${FAREWELL_PORT} ${BULK_BYTES} ${bulkHash()}`)
      await socket.until('its end', ({ isClosed }) => isClosed)
      t.equal(socket.error, '')
      await assertRecords(t, lab, way, known, { outbound: 'OK', inbound: 'OK' })
    },
  )
}

/** The stranger's link goes, and nobody says a word of it. */
async function testVanished(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a peer that vanishes ends both legs, with a record', ONE_TEST, async (t) => {
    const [, inWay, outWay] = WAYS
    if (inWay === undefined || outWay === undefined) throw new Error('ways')
    const known = await counts(lab)
    const before = lab.heard('cart').length
    await greeted(lab, inWay)
    const called = await greeted(lab, outWay)
    await new Promise((resolve) => setTimeout(resolve, LONGER_MS))
    t.equal(called.isClosed, false, 'who is silent and answers is kept')
    t.same(lab.heard('cart').slice(before), [])
    lab.network.removePod('stranger')
    await called.until('its end', ({ isClosed }) => isClosed)
    t.equal(called.error, 'ECONNRESET')
    t.equal(
      await poll('the server hears of it', () => lab.heard('cart')[before] ?? null),
      `${GREETER_PORT} ECONNRESET`,
    )
    const gone = { outbound: 'PEER_UNRESPONSIVE', inbound: 'PEER_UNRESPONSIVE' }
    await assertRecords(t, lab, inWay, known, gone)
    await assertRecords(t, lab, outWay, known, gone)
    for (const node of ['n1', 'n2'] as const)
      await poll(
        'nothing is left',
        async () => (await lab.admin(node, '/connections')).text.trim() === '[]' || null,
      )
  })
}

t.setTimeout(300_000)
t.test('ends of connections', { timeout: 280_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), MESH, KEEPALIVE, async (lab) => {
    lab.serving = ['cart', 'batch', 'stranger']
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  for (const way of WAYS) {
    await testResets(t, lab, way)
    await testHalves(t, lab, way)
  }
  await testVanished(t, lab)
})
