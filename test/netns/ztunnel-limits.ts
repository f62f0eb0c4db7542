// SPDX-License-Identifier: Apache-2.0
// What one pod may have of its node, and what a half-closed connection may: with small limits, on real nodes.
import { readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const [GREETER_PORT, HOLD_PORT] = [9001, 9003] as const
const MAX_CONNECTIONS = 60
const HALF_CLOSED = 50
/** Sockets that dialers keep ready: eight each, in two workers of two nodes. */
const SPARE_SOCKETS = 32
const ONE_TEST = { timeout: 60_000 }

t.setTimeout(160_000)

async function greeted(lab: MeshLab, pod: LabPod): Promise<LabSocket> {
  const socket = lab.connect(pod, CART_IP, GREETER_PORT)
  await socket.until('greeted or refused', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return socket
}
const opened = (socket: LabSocket): boolean => socket.text.startsWith('220')

async function refusals(lab: MeshLab, node: 'n1' | 'n2', pod: string, limit: string): Promise<number> {
  const { text } = await lab.admin(node, '/metrics')
  const line = new RegExp(`^sidestep_pod_refused_total\\{.*pod="${pod}",limit="${limit}"\\} (\\d+)$`, 'm')
  return Number(line.exec(text)?.[1] ?? 0)
}

async function testConnections(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a pod has so many connections, others are refused at once, and other pods are not',
    ONE_TEST,
    async (t) => {
      const known = (await lab.records('n1')).length
      const sockets: LabSocket[] = []
      for (let i = 0; i < MAX_CONNECTIONS + 5; i++) sockets.push(await greeted(lab, 'front'))
      t.equal(sockets.filter(opened).length, MAX_CONNECTIONS)
      t.equal(await refusals(lab, 'n1', 'front', 'connections'), 5)
      const refused = (await lab.records('n1')).slice(known).filter(({ reason }) => reason === 'LIMIT_POD')
      t.equal(refused.length, 5, 'each has its record')
      const other = await greeted(lab, 'batch')
      t.ok(opened(other), 'batch has its own')
      for (const each of [...sockets, other]) each.destroy()
      await poll('a place again', async () => {
        const next = await greeted(lab, 'front')
        next.destroy()
        return opened(next) || null
      })
    },
  )
}

async function testHalfClosed(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a half-closed connection that moves nothing is cut on both nodes, and leaves nothing',
    ONE_TEST,
    async (t) => {
      const pids = [...lab.dataPids('n1'), ...lab.dataPids('n2')]
      const count = (): number => pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0)
      const isQuiet = async (node: 'n1' | 'n2') =>
        (await lab.admin(node, '/connections')).text.trim() === '[]'
      await poll('quiet', async () => ((await isQuiet('n1')) && (await isQuiet('n2'))) || null)
      const before = count()
      const known = { n1: (await lab.records('n1')).length, n2: (await lab.records('n2')).length }
      // The application never ends its half; an open connection beside them is not half closed.
      const sockets = [...Array(HALF_CLOSED)].map(() => lab.connect('front', CART_IP, HOLD_PORT))
      const open = await greeted(lab, 'front')
      for (const each of sockets) await each.until('connected', ({ isConnected }) => isConnected)
      for (const each of sockets) each.write('x')
      for (const each of sockets) each.end()
      for (const each of sockets) await each.until('cut', ({ isClosed }) => isClosed)
      t.same(new Set(sockets.map(({ error }) => error)), new Set(['ECONNRESET']))
      for (const node of ['n1', 'n2'] as const) {
        const cut = await poll('a record of each', async () => {
          const records = (await lab.records(node)).slice(known[node])
          return records.length >= HALF_CLOSED ? records : null
        })
        const reasons = cut.map(({ reason }) => String(reason))
        t.equal(reasons.length, HALF_CLOSED)
        // Either node's watch may be first; the other one hears of it.
        t.ok(
          reasons.every((each) => each === 'HALF_CLOSE_TIMEOUT' || each === 'STREAM_RESET'),
          reasons.join(),
        )
      }
      t.equal(open.isClosed, false)
      open.destroy()
      await poll('descriptors back', () => count() <= before + SPARE_SOCKETS || null)
    },
  )
}

t.test('limits on two nodes', { timeout: 150_000 }, async (t) => {
  const lab = await MeshLab.start(
    labDirectory(t),
    labMesh([]),
    {
      SIDESTEP_HALF_CLOSE_SECONDS: '2',
    },
    async () => ({ n1: { SIDESTEP_POD_CONNECTIONS: String(MAX_CONNECTIONS) }, n2: {} }),
  )
  t.teardown(() => lab.close())
  await testConnections(t, lab)
  await testHalfClosed(t, lab)
})
