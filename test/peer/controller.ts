// SPDX-License-Identifier: Apache-2.0
// Istio's ztunnels under our controller: discovery, certificates, traffic allowed and denied between two of theirs, and
// between theirs and ours in both directions. Needs ZTUNNEL_BIN and root.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import type { TestAccount } from '../support/controller-with-accounts.ts'
import { IstioZtunnel, istioBinary } from '../support/istio-ztunnel.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, type LabPod, MeshLab, poll } from '../support/mesh-lab.ts'

const AGENT = fileURLToPath(new URL('../support/pod-agent.ts', import.meta.url))
/** front and cart are served by ours, batch and stranger by Istio's. */
const PODS = [
  { name: 'front', ip: '10.1.0.1', node: 'n1' },
  { name: 'batch', ip: '10.1.0.2', node: 'n8' },
  { name: 'stranger', ip: '10.1.0.3', node: 'n9' },
  { name: 'cart', ip: '10.2.0.1', node: 'n2' },
]
const ipOf = (name: string): string => PODS.find((pod) => pod.name === name)?.ip ?? ''
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
const account = (name: string, node: string): TestAccount => ({
  token: `token-of-${name}`,
  ...{ namespace: 'shop', pod: name, serviceAccount: name, node },
})
/** Nobody but `allowed` may reach the greeter of any pod. */
const only = (allowed: readonly string[]): string =>
  `${clusterYaml(PODS, [])}\n---\n` +
  '{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: greeters, namespace: shop}, ' +
  'spec: {action: ALLOW, rules: [{to: [{operation: {ports: ["8080", "9000"]}}]}, ' +
  `{from: [{source: {principals: [${allowed.map((name) => `cluster.local/ns/shop/sa/${name}`).join(', ')}]}}], ` +
  'to: [{operation: {ports: ["9001"]}}]}]}}'

async function isGreeted(lab: MeshLab, from: LabPod, to: string): Promise<boolean> {
  const socket = lab.connect(from, ipOf(to), 9001)
  await socket.until(
    'an answer',
    ({ text, isClosed, hasEnded }) => text.endsWith('\r\n') || isClosed || hasEnded,
  )
  const isGood = socket.text.startsWith('220')
  socket.destroy()
  return isGood
}

t.test('Istio’s ztunnels under our controller', { timeout: 120_000 }, async (t) => {
  istioBinary() // before anything is built
  const directory = labDirectory(t)
  const accounts = [account('batch', 'n8'), account('stranger', 'n9')]
  const made: ControllerProcess[] = []
  const lab = await MeshLab.start(directory, '', {}, async (started) => {
    started.enrolled = { n1: ['front'], n2: ['cart'] }
    const { namespace, ip } = started.network.node('control')
    const controller = new ControllerProcess(directory, namespace, ip, accounts)
    made.push(controller)
    t.teardown(() => controller.close())
    await controller.configure(only(['front', 'batch', 'stranger']))
    await controller.start()
    const optionsOf = async (node: LabNode): Promise<Readonly<Record<string, string>>> => {
      const own = PODS.filter((pod) => pod.node === node).map(({ name }) => identity(name))
      const tokenFile = join(directory, `${node}.token`)
      writeFileSync(tokenFile, await controller.joinToken(node, own), { mode: 0o600 })
      return {
        SIDESTEP_CONFIG_FILE: '',
        SIDESTEP_CA_DIRECTORY: '',
        SIDESTEP_CONTROLLER_ADDRESSES: controller.address,
        SIDESTEP_CONTROLLER_ROOTS: controller.rootsFile,
        SIDESTEP_CONTROLLER_TOKEN: tokenFile,
      }
    }
    return { n1: await optionsOf('n1'), n2: await optionsOf('n2') }
  })
  t.teardown(() => lab.close())
  const [controller] = made
  if (controller === undefined) throw new Error('no controller')
  for (const name of ['batch', 'stranger'] as const) {
    const istio = await IstioZtunnel.startUnder({
      namespace: lab.namespaceOf(name),
      workload: `shop/${name}/${name}`,
      node: name === 'batch' ? 'n8' : 'n9',
      ...{ address: controller.address, rootsFile: controller.rootsFile, token: `token-of-${name}` },
    })
    t.teardown(() => istio.stop())
  }
  const serve = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', AGENT, 'serve'], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  const agent = lab.namespaceOf('stranger').run(serve)
  t.teardown(() => {
    if (agent.connected) agent.disconnect()
  })
  await once(agent, 'message', { signal: AbortSignal.timeout(10_000) })

  await t.test('they are known by their tokens and have taken everything', async (t) => {
    const clients = await poll('all four', async () => {
      const all = (await controller.admin('/clients')) as {
        node: string
        types: { refusals: number; held: number }[]
      }[] // as: the route's answer
      // Ours ask for revocation lists too.
      const isWhole = all.every(
        ({ node, types }) => types.length === (node === 'n1' || node === 'n2' ? 3 : 2),
      )
      return all.length === 4 && isWhole ? all : null
    })
    t.same(clients.map(({ node }) => node).toSorted(), ['n1', 'n2', 'n8', 'n9'])
    for (const { types } of clients) t.ok(types.every(({ refusals }) => refusals === 0))
    t.same(await controller.admin('/findings'), { mistakes: [], findings: [], refused: [] })
  })

  const pairs: readonly (readonly [LabPod, string, string])[] = [
    ['batch', 'stranger', 'theirs to theirs'],
    ['front', 'stranger', 'ours to theirs'],
    ['batch', 'cart', 'theirs to ours'],
    ['front', 'cart', 'ours to ours'],
  ]
  await t.test('who is allowed gets through, in every pairing', async (t) => {
    for (const [from, to, name] of pairs) t.ok(await isGreeted(lab, from, to), name)
  })
  await t.test('who is denied does not, after a change that all of them hear', async (t) => {
    await controller.configure(only(['nobody']))
    for (const [from, to, name] of pairs) {
      await poll(name, async () => !(await isGreeted(lab, from, to)) || null)
      t.notOk(await isGreeted(lab, from, to), name)
    }
    await controller.configure(only(['batch']))
    await poll('batch again', async () => (await isGreeted(lab, 'batch', 'stranger')) || null)
    await poll('batch again', async () => (await isGreeted(lab, 'batch', 'cart')) || null)
    t.notOk(await isGreeted(lab, 'front', 'stranger'))
    t.notOk(await isGreeted(lab, 'front', 'cart'))
  })
})
