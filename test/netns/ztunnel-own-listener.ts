// SPDX-License-Identifier: Apache-2.0
// The ztunnel of n2 as a pod of the mesh: callers reach its status port through a tunnel, and nothing else. Real processes,
// observed from outside only.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabRecord, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const NODE_IP = '10.99.0.2'
const STATUS_PORT = 15_021
/** Of n2's DNS proxy, say: somebody listens there, and it is not to be reached. */
const OTHER_PORT = 15_090
const IDENTITY = 'spiffe://cluster.local/ns/istio-system/sa/ztunnel'
const OWN = {
  SIDESTEP_STATUS_PORT: String(STATUS_PORT),
  SIDESTEP_POD_NAME: 'ztunnel-x7',
  SIDESTEP_SERVICE_ACCOUNT: 'ztunnel',
  SIDESTEP_INSTANCE_IP: NODE_IP,
}
/** As a controller tells the others of it. */
const LISTED = `- {uid: zt, name: ztunnel-x7, namespace: istio-system, serviceAccount: ztunnel, workloadIps: ["${NODE_IP}"], protocol: HBONE, node: n2, trustDomain: cluster.local, services: {}}\n`
const NO_BATCH =
  '- {name: no-batch, namespace: istio-system, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/batch]}]]]}\n'

t.setTimeout(200_000)

/** n1 knows of it; n2 itself only where `isListed`. */
async function openLab(t: Test, isListed: boolean, options = {}): Promise<MeshLab> {
  t.setTimeout(90_000)
  const mesh = labMesh([]).replace('services:\n', `${LISTED}services:\n`)
  const lab = await MeshLab.start(labDirectory(t), mesh, {}, async ({ directory }) => {
    const path = join(directory, 'n2-mesh.yaml')
    await writeFile(path, `${isListed ? mesh : labMesh([])}${NO_BATCH}`)
    return { n1: {}, n2: { ...OWN, SIDESTEP_CONFIG_FILE: path, ...options } }
  })
  t.teardown(() => lab.close())
  return lab
}

/** What came back; the error where nothing did. */
async function scrape(lab: MeshLab, pod: LabPod = 'front', port = STATUS_PORT): Promise<string> {
  const socket = lab.connect(pod, NODE_IP, port)
  socket.write('GET /metrics HTTP/1.1\r\nhost: n2\r\n\r\n')
  await socket.until('the end', ({ isClosed, hasEnded }) => isClosed || hasEnded)
  socket.destroy()
  return socket.text === '' ? `error ${socket.error}` : socket.text
}

/** The next record of n2 about it. */
async function recordOf(lab: MeshLab, act: () => Promise<unknown>): Promise<LabRecord | undefined> {
  const known = (await lab.records('n2')).length
  await act()
  const [record] = await lab.recordsAfter(
    'n2',
    known,
    (each) => each.direction === 'inbound' && String(each['dst.addr']).startsWith(`${NODE_IP}:`),
  )
  return record
}

for (const isListed of [true, false]) {
  const whose = isListed ? 'it has been told of itself' : 'it has not been told of itself'
  t.test(`metrics are scraped by mTLS, where ${whose}`, async (t) => {
    const lab = await openLab(t, isListed)
    const record = await recordOf(lab, async () => {
      const text = await scrape(lab)
      t.match(text, /^HTTP\/1.1 200 OK/)
      t.match(text, /workload_manager_active_proxy_count\S* 2\n/, 'cart and itself')
    })
    t.match(record, {
      ...{ reason: 'OK', transport: 'HBONE', 'src.identity': 'spiffe://cluster.local/ns/shop/sa/front' },
      ...{ 'dst.identity': IDENTITY, 'dst.addr': `${NODE_IP}:${STATUS_PORT}` },
    })
    t.match(
      await recordOf(lab, async () => t.match(await scrape(lab, 'front', OTHER_PORT), /^error/)),
      { reason: 'CONNECT_OWN_PORT' },
      'nothing else of it is reached',
    )
    t.match(
      await recordOf(lab, async () => t.match(await scrape(lab, 'batch'), /^error/)),
      { reason: 'POLICY_DENY', policy: 'istio-system/no-batch' },
      'policies of its namespace count',
    )

    await t.test('through an upgrade and by the next supervisor', async (t) => {
      const [before] = lab.dataPids('n2')
      lab.upgrade('n2')
      const isOther = (): boolean | null => !lab.dataPids('n2').includes(before ?? 0) || null
      await poll('only the next data process', isOther)
      t.match(await scrape(lab), /^HTTP\/1.1 200 OK/)
      const supervisor = await lab.startNext('n2')
      await poll('it serves', () => lab.log('n2').includes('the next supervisor serves') || null)
      supervisor.kill('SIGTERM')
      await poll('only the next supervisor', () => supervisor.exitCode !== null || null)
      t.match(await scrape(lab), /^HTTP\/1.1 200 OK/)
      t.match(await recordOf(lab, () => scrape(lab)), { reason: 'OK', 'dst.identity': IDENTITY })
      await lab.killSupervisor('n2')
      await lab.revive('n2')
      await poll('it is taken over', () => lab.log('n2').includes('data process taken over') || null)
      t.match(await scrape(lab), /^HTTP\/1.1 200 OK/)
    })
  })
}

t.test('who does not want that has no such listener', async (t) => {
  const lab = await openLab(t, true, { SIDESTEP_OWN_LISTENER: 'false' })
  const known = (await lab.records('n1')).length
  t.match(await scrape(lab), /^error/)
  const [record] = await lab.recordsAfter('n1', known, ({ reason }) => reason === 'HBONE_PORT_REFUSED')
  t.ok(record, 'nobody listens')
})
