// SPDX-License-Identifier: Apache-2.0
// Certificates that are revoked while two real nodes talk: who can get another one goes on with it, who cannot is cut off
// and kept out, also by a node that was restarted and hears nothing of any controller.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CART_VIP, isGreeted, PODS, serialOf, startCuttableLab } from '../support/controlled-lab.ts'
import { clusterYaml } from '../support/controller-process.ts'
import { type LabPod, type LabSocket, labMesh, type MeshLab, poll } from '../support/mesh-lab.ts'

const CUT_OFF_MS = 10_000

async function metric(lab: MeshLab, node: 'n1' | 'n2', name: string): Promise<number> {
  const { text } = await lab.admin(node, '/metrics')
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ')[1])
}

async function open(lab: MeshLab, pod: LabPod): Promise<LabSocket> {
  const socket = lab.connect(pod, CART_VIP, 91)
  await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  return socket
}

async function echoes(socket: LabSocket, word: string): Promise<void> {
  socket.write(word)
  await socket.until(word, ({ text }) => text.endsWith(word))
}

/** What is open stays with those before, which drain. */
async function replaceGenerations(lab: MeshLab): Promise<void> {
  for (const node of ['n1', 'n2'] as const) {
    lab.upgrade(node)
    await poll(`the change of generations of ${node}`, () =>
      lab.log(node).includes('the data process before drains') ? true : null,
    )
    await lab.ready(node)
  }
}

const isRevoked = ({ reason }: { readonly reason?: string | number }): boolean => reason === 'CERT_REVOKED'

t.test('a certificate is revoked while its tunnel is in use', { timeout: 150_000 }, async (t) => {
  const { lab, controller, cut } = await startCuttableLab(t)
  await controller.configure(clusterYaml(PODS, []))
  await poll('batch is let in', async () => (await isGreeted(lab, 'batch')) || null)

  await t.test(
    'its holder gets another one at once and goes on; the tunnel of the old one ends',
    async (t) => {
      const [front, batch] = [await open(lab, 'front'), await open(lab, 'batch')]
      const serial = await serialOf(lab, 'batch')
      await controller.revoke(serial)
      await batch.until('the end', ({ isClosed }) => isClosed, CUT_OFF_MS)
      const [record] = await lab.recordsAfter('n2', 0, isRevoked)
      t.match(record, { direction: 'inbound', detail: 'the certificate of the peer is revoked' })
      await poll(
        'another certificate',
        async () => (await serialOf(lab, 'batch')) !== serial || null,
        CUT_OFF_MS,
      )
      t.match(lab.log('n1'), /"reason":"CERT_REVOKED".*"serialNumber":"\d+"/)
      await poll('batch is greeted again', async () => (await isGreeted(lab, 'batch')) || null)
      t.equal(await metric(lab, 'n1', 'sidestep_certificates_in_trouble{kind="revoked"}'), 0)
      await echoes(front, 'unharmed')
      front.destroy()
    },
  )

  await t.test('so does a tunnel of generations that drain', async () => {
    const [front, batch] = [await open(lab, 'front'), await open(lab, 'batch')]
    const serial = await serialOf(lab, 'batch')
    await replaceGenerations(lab)
    await controller.revoke(serial)
    await batch.until('the end', ({ isClosed }) => isClosed, CUT_OFF_MS)
    await poll('batch is greeted again', async () => (await isGreeted(lab, 'batch')) || null)
    await echoes(front, 'unharmed')
    front.destroy()
    // They still take who was in their queue: what begins now would have its records with them.
    for (const node of ['n1', 'n2'] as const)
      await poll(`the end of those before at ${node}`, () => lab.dataPids(node).length === 1 || null)
  })

  await t.test('without a CA its holder is cut off and kept out; others are unharmed', async (t) => {
    const [front, batch] = [await open(lab, 'front'), await open(lab, 'batch')]
    cut()
    const known = (await lab.records('n2')).length
    const turnedAway = await metric(lab, 'n2', 'istio_crl_policy_rejections_total{reporter="destination"}')
    await controller.revoke(await serialOf(lab, 'front'))
    await front.until('the end', ({ isClosed }) => isClosed, CUT_OFF_MS)
    t.notOk(await isGreeted(lab, 'front'))
    const records = await lab.recordsAfter('n2', known, isRevoked)
    const greetings = records.map(({ bytes_sent: bytes }) => bytes)
    t.ok(
      greetings.includes(10) && greetings.includes(0),
      'the tunnel that was, and the handshake of the next',
    )
    t.equal(await metric(lab, 'n1', 'sidestep_certificates_in_trouble{kind="revoked"}'), 1)
    const now = await metric(lab, 'n2', 'istio_crl_policy_rejections_total{reporter="destination"}')
    t.ok(now >= turnedAway + 2, `${turnedAway}, then ${now}`)
    await echoes(batch, 'unharmed')
    t.ok(await isGreeted(lab, 'batch'))
    t.notOk(await isGreeted(lab, 'front'))
    batch.destroy()
  })

  await t.test('a restarted node that hears of no controller still refuses it', async (t) => {
    const state = join(lab.directory, 'state-n2')
    t.equal(statSync(join(state, 'revocations.pem')).mode & 0o777, 0o600)
    await lab.configure(labMesh([]))
    await lab.restart('n2', {
      SIDESTEP_CONFIG_FILE: join(lab.directory, 'mesh.yaml'),
      SIDESTEP_CONTROLLER_ADDRESSES: '',
      SIDESTEP_CA_ADDRESSES: controller.address,
    })
    const dump = JSON.parse((await lab.admin('n2', '/config_dump')).text)
    t.equal(dump.source.kind, 'file')
    t.match(dump.revocations, { lists: [{ revoked: 3, isOverdue: false }], undecided: 0 })
    await poll('batch is greeted', async () => (await isGreeted(lab, 'batch')) || null)
    const known = (await lab.records('n2')).length
    t.notOk(await isGreeted(lab, 'front'))
    const [record] = await lab.recordsAfter('n2', known, isRevoked)
    t.match(record, { direction: 'inbound' })
  })
})
