// SPDX-License-Identifier: Apache-2.0
// Two pods of a node that are connected without a tunnel, and the certificate of either is revoked: what is open between them
// ends as a tunnel would, and the next connection stands on another certificate. Real processes, observed from outside only.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { PODS, startControlledLab } from '../support/controlled-lab.ts'
import { clusterYaml } from '../support/controller-process.ts'
import { type LabPod, type LabRecord, type LabSocket, type MeshLab, poll } from '../support/mesh-lab.ts'

const AGENT = fileURLToPath(new URL('../support/pod-agent.ts', import.meta.url))
const BATCH_IP = '10.1.0.2'
const GREETER_PORT = 9001
const CUT_OFF_MS = 10_000
const OPTED_IN = clusterYaml(PODS, []).replace(
  'labels: {sidestep.dev/mode: ambient}',
  'labels: {sidestep.dev/mode: ambient}, annotations: {sidestep.dev/same-node: direct}',
)

t.setTimeout(180_000)

async function serialOf(lab: MeshLab, pod: LabPod): Promise<string> {
  const { text } = await lab.admin('n1', '/certificates')
  const reports = JSON.parse(text) as { identity: string; stored: string }[] // as: the route's answer
  const found = reports.find(({ identity }) => identity.endsWith(`/sa/${pod}`))
  if (found === undefined) throw new Error(text)
  return found.stored
}

async function open(lab: MeshLab): Promise<LabSocket> {
  const socket = lab.connect('front', BATCH_IP, GREETER_PORT)
  await socket.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return socket
}

/** One connection, opened and ended: its record at the destination. */
async function recordOfNext(lab: MeshLab): Promise<LabRecord | undefined> {
  const known = (await lab.records('n1')).length
  const socket = await open(lab)
  socket.destroy()
  const [record] = await lab.recordsAfter('n1', known, ({ direction }) => direction === 'inbound')
  return record
}

t.test('a revoked certificate cuts connections that no handshake made', { timeout: 170_000 }, async (t) => {
  const { lab, controller } = await startControlledLab(t)
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', AGENT, 'serve'], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: {},
    })
  const application = lab.namespaceOf('batch').run(start)
  t.teardown(() => {
    if (application.connected) application.disconnect()
  })
  await once(application, 'message')
  await controller.configure(OPTED_IN)
  await poll('no tunnel', async () => (await recordOfNext(lab))?.transport === 'LOCAL' || null)

  for (const [side, pod] of [
    ['destination', 'batch'],
    ['source', 'front'],
  ] as const) {
    await t.test(`that of the ${side}`, { timeout: 60_000 }, async (t) => {
      const socket = await open(lab)
      t.match(socket.text, /^220/)
      const known = (await lab.records('n1')).length
      const serial = await serialOf(lab, pod)
      await controller.revoke(serial)
      await socket.until('the end', ({ isClosed }) => isClosed, CUT_OFF_MS)
      const [record] = await lab.recordsAfter('n1', known, ({ reason }) => reason === 'CERT_REVOKED')
      t.match(record, { direction: 'inbound', transport: 'LOCAL', 'src.workload': 'front' })
      await poll('another certificate', async () => (await serialOf(lab, pod)) !== serial || null, CUT_OFF_MS)
      await poll('it is greeted without a tunnel again', async () => {
        const next = await recordOfNext(lab)
        return (next?.transport === 'LOCAL' && next.reason !== 'CERT_REVOKED') || null
      })
    })
  }
})
