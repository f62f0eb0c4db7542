// SPDX-License-Identifier: Apache-2.0
// The CA is away until the certificates of two real nodes have ended. Without grace nobody is let in any more, and it says
// why; with it those go on who have met before, also over a restart, and nobody else, and nobody who is revoked.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { isGreeted, PODS, startControlledLab } from '../support/controlled-lab.ts'
import { clusterYaml } from '../support/controller-process.ts'
import { type LabNode, type LabPod, type MeshLab, poll } from '../support/mesh-lab.ts'

const PROXY = fileURLToPath(new URL('../support/tcp-proxy.ts', import.meta.url))
const PROXY_PORT = 15_013
/** A renewal every few seconds, until there is none. */
const TTL_SECONDS = '25'
const CUT_OFF_MS = 10_000

t.setTimeout(240_000)

/** As far as it is looked at. */
interface Certificate {
  readonly identity: string
  readonly use: string
  readonly stored: string
  readonly renewalFailures: number
}

/** Both nodes reach their CA through something that is cut, and have what they had then. */
async function startWithoutCa(t: Test, options: Readonly<Record<string, string>>) {
  const proxies: ChildProcess[] = []
  const { lab, controller } = await startControlledLab(t, (_, network) => {
    const { namespace, ip } = network.node('control')
    const args = ['--no-warnings', PROXY, String(PROXY_PORT), ip, '15012']
    const start = (): ChildProcess => spawn(process.execPath, args, { stdio: 'inherit', env: {} })
    if (proxies.length === 0) proxies.push(namespace.run(start))
    return {
      SIDESTEP_CA_ADDRESSES: `${ip}:${PROXY_PORT}`,
      SIDESTEP_CERTIFICATE_TTL_SECONDS: TTL_SECONDS,
      ...options,
    }
  })
  const cut = (): void => proxies.forEach((proxy) => void proxy.kill())
  t.teardown(cut)
  await controller.configure(clusterYaml(PODS, []))
  // While certificates last for sure: what comes after the cut has no time limit then.
  await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
  cut()
  for (const node of ['n1', 'n2'] as const)
    await poll(`renewals of ${node} fail`, async () => {
      const list = await certificates(lab, node)
      return list.every(({ renewalFailures }) => renewalFailures > 0) || null
    })
  return { lab, controller }
}

async function certificates(lab: MeshLab, node: LabNode): Promise<readonly Certificate[]> {
  const list = JSON.parse((await lab.admin(node, '/certificates')).text) as Certificate[] // as: our API
  return list.filter(({ use }) => use === 'workload')
}

async function metric(lab: MeshLab, node: LabNode, name: string): Promise<number> {
  const { text } = await lab.admin(node, '/metrics')
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ')[1])
}

/** All certificates of both nodes have ended. */
async function ended(lab: MeshLab): Promise<void> {
  for (const [node, count] of [
    ['n1', 2],
    ['n2', 1],
  ] as const)
    await poll(
      `those of ${node} have ended`,
      async () =>
        (await metric(lab, node, 'sidestep_certificates_in_trouble{kind="expired"}')) === count || null,
    )
}

/** What the node says of the attempts of a pod that is not let in. */
async function refusedBy(lab: MeshLab, pod: LabPod, node: LabNode): Promise<string> {
  const known = (await lab.records(node)).length
  t.notOk(await isGreeted(lab, pod), `${pod} is refused`)
  const [record] = await lab.recordsAfter(node, known, ({ reason }) => reason !== 'OK')
  return `${record?.reason}: ${record?.detail}`
}

const wholeLog = (lab: MeshLab, node: LabNode): string =>
  readFileSync(join(lab.directory, `${node}.log`), 'utf8')

t.test('without grace nobody is let in with what has ended', { timeout: 120_000 }, async (t) => {
  const { lab } = await startWithoutCa(t, {})
  await ended(lab)
  // Tunnels that stand go on; another pod needs one of its own.
  t.match(await refusedBy(lab, 'batch', 'n1'), /^CERT_EXPIRED: .*certificate has expired$/)
  t.equal(await metric(lab, 'n1', 'sidestep_grace_connections_total'), 0)
  t.notOk(existsSync(join(lab.directory, 'state-n1', 'peers.sealed')))
})

t.test('with grace those go on who have met', { timeout: 120_000 }, async (t) => {
  const { lab, controller } = await startWithoutCa(t, { SIDESTEP_CERTIFICATE_GRACE_DAYS: '1' })
  await ended(lab)
  for (const node of ['n1', 'n2'] as const)
    await poll(
      `${node} has saved`,
      () => existsSync(join(lab.directory, `state-${node}`, 'peers.sealed')) || null,
    )

  await t.test('over a restart of both nodes', async (t) => {
    await Promise.all((['n1', 'n2'] as const).map((node) => lab.restart(node)))
    await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
    for (const [node, peer] of [
      ['n1', 'cart'],
      ['n2', 'front'],
    ] as const) {
      t.ok((await metric(lab, node, 'sidestep_grace_connections_total')) > 0, node)
      const told = wholeLog(lab, node)
        .split('\n')
        .filter((line) => line.includes('"reason":"CERT_GRACE"'))
      t.equal(told.length, 1, 'told once')
      t.match(told[0], new RegExp(`"identity":"spiffe://cluster.local/ns/shop/sa/${peer}"`))
    }
    const [record] = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'OK')
    t.match(JSON.stringify(record), /spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front/, 'by mutual TLS')
  })

  await t.test('who comes with a new key is refused', async (t) => {
    t.match(await refusedBy(lab, 'batch', 'n2'), /^CERT_EXPIRED: .*its key was never here with a valid one/)
  })

  await t.test('who is revoked is cut off and refused', async (t) => {
    const front = (await certificates(lab, 'n1')).find(({ identity }) => identity.endsWith('/sa/front'))
    const open = lab.connect('front', '10.96.0.10', 91)
    await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    await controller.revoke(front?.stored ?? '')
    await open.until('the end', ({ isClosed }) => isClosed, CUT_OFF_MS)
    t.match(await refusedBy(lab, 'front', 'n2'), /^CERT_REVOKED/)
  })
})
