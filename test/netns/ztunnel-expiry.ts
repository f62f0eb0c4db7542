// SPDX-License-Identifier: Apache-2.0
// Controller and CA are away, and certificates are used to their end: traffic goes on up to there, new tunnels too, while
// /metrics counts down. Beyond the end new tunnels are refused by their reason, or go on in grace mode; when the controller is
// back all is well, and no process had to be started anew for it.
import t, { type Test } from 'tap'
import { isGreeted, startControlledLab } from '../support/controlled-lab.ts'
import { LabTraffic } from '../support/lab-traffic.ts'
import { type LabNode, type MeshLab, poll } from '../support/mesh-lab.ts'

const TTL_SECONDS = 40
/** What is left when the last look before the end is taken. */
const CLOSE_SECONDS = 4
const LOOK_MS = 400
const NODES = ['n1', 'n2'] as const
const FRONT = 'spiffe://cluster.local/ns/shop/sa/front'
const CART = 'spiffe://cluster.local/ns/shop/sa/cart'

t.setTimeout(300_000)

async function metricOf(lab: MeshLab, node: LabNode, series: string): Promise<number> {
  // A machine that is busy elsewhere is asked again.
  const { text } = await poll('metrics', () => lab.admin(node, '/metrics').catch(() => null))
  const line = text.split('\n').find((each) => each.startsWith(`${series} `))
  return Number(line?.slice(series.length + 1))
}

/** Seconds until the certificate ends, as who reads /metrics knows it: fractions by our clock, the end in whole seconds. */
async function secondsLeft(lab: MeshLab, node: LabNode): Promise<number> {
  const identity = node === 'n1' ? FRONT : CART
  const end = await metricOf(lab, node, `sidestep_certificate_expiry_seconds{identity="${identity}"}`)
  return end - Date.now() / 1000
}

const expiredCount = (lab: MeshLab, node: LabNode): Promise<number> =>
  metricOf(lab, node, 'sidestep_certificates_in_trouble{kind="expired"}')

/** Another process serves the node: it has no tunnel yet. */
async function renewTunnels(lab: MeshLab, node: LabNode): Promise<void> {
  const before = lab.dataPids(node)
  lab.upgrade(node)
  await poll(`${node} has another process`, async () => {
    const hasNew = lab.dataPids(node).some((pid) => !before.includes(pid))
    return (hasNew && before.every((pid) => !lab.dataPids(node).includes(pid))) || null
  })
  await lab.ready(node)
}

/** Looks at the countdown until there is so little left; both nodes together. Nothing renews them meanwhile. */
async function countDown(t: Test, lab: MeshLab, seconds: number): Promise<void> {
  const last = { n1: Number.POSITIVE_INFINITY, n2: Number.POSITIVE_INFINITY }
  let looks = 0
  await poll(`${seconds} s are left`, async () => {
    for (const node of NODES) {
      const left = await secondsLeft(lab, node)
      if (!(left < last[node])) t.fail(`${node}: ${left} s after ${last[node]} s`)
      last[node] = left
    }
    looks++
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    return Math.min(last.n1, last.n2) < seconds || null
  })
  t.ok(looks > 0, `${looks} looks, always less: ${last.n1.toFixed(1)} s and ${last.n2.toFixed(1)} s at last`)
}

for (const graceDays of ['0', '1'])
  t.test(`an outage longer than certificates last, ${graceDays} days of grace`, async (t) => {
    const { lab, controller } = await startControlledLab(t, () => ({
      SIDESTEP_CERTIFICATE_TTL_SECONDS: String(TTL_SECONDS),
      SIDESTEP_CERTIFICATE_GRACE_DAYS: graceDays,
    }))
    const traffic = await LabTraffic.start(t, lab)
    for (const node of NODES)
      await poll(
        `${node} has fresh ones`,
        async () => (await secondsLeft(lab, node)) > TTL_SECONDS / 2 || null,
      )
    await controller.kill()

    await t.test('up to the end nothing fails, and new tunnels are made', async (t) => {
      await countDown(t, lab, TTL_SECONDS / 2 - 2)
      await renewTunnels(lab, 'n1')
      await traffic.fine(t, 'through new tunnels, by certificates that could not be renewed')
      await countDown(t, lab, CLOSE_SECONDS)
      for (const node of NODES) t.equal(await expiredCount(lab, node), 0)
      await traffic.fine(t, 'to the end')
    })

    const pids = NODES.map((node) => lab.supervisorPid(node))
    await t.test(
      graceDays === '0' ? 'then new tunnels are refused' : 'then who has met goes on',
      async (t) => {
        for (const node of NODES)
          await poll(`those of ${node} have ended`, async () => (await expiredCount(lab, node)) > 0 || null)
        for (const node of NODES) t.ok((await secondsLeft(lab, node)) < 0, `${node}: below zero`)
        await traffic.fine(t, 'by the tunnels that stand')
        if (graceDays !== '0') {
          await renewTunnels(lab, 'n1')
          await traffic.fine(t, 'and by new ones')
          t.ok((await metricOf(lab, 'n1', 'sidestep_grace_connections_total')) > 0)
          return
        }
        await traffic.end(t, 200)
        await renewTunnels(lab, 'n1')
        const known = (await lab.records('n1')).length
        t.notOk(await isGreeted(lab, 'front'))
        const [record] = await lab.recordsAfter('n1', known, ({ reason }) => reason !== 'OK')
        // Who still has one that ended says CERT_EXPIRED (ztunnel-grace.ts); a new process never takes it up.
        t.match(record, { reason: 'CERT_UNAVAILABLE', 'src.identity': FRONT })
      },
    )

    await t.test('when the controller is back all is well, and nothing was started for it', async (t) => {
      const serving = NODES.map((node) => lab.dataPids(node))
      await controller.start()
      await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
      for (const node of NODES) {
        await poll(`${node} has fresh ones`, async () => (await expiredCount(lab, node)) === 0 || null)
        t.ok((await secondsLeft(lab, node)) > 0)
      }
      const again = graceDays === '0' ? await LabTraffic.start(t, lab) : traffic
      await renewTunnels(lab, 'n2')
      await again.end(t, 20)
      t.same(lab.dataPids('n1'), serving[0])
      t.same(
        NODES.map((node) => lab.supervisorPid(node)),
        pids,
      )
    })
  })
