// SPDX-License-Identifier: Apache-2.0
// Two real nodes that learn everything from a real controller: they join with tokens, get certificates and
// configuration, and go on when it is gone.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { KeptEdge } from '../../controller/edges/edge-store.ts'
import { CART_VIP, isGreeted, PODS, startControlledLab } from '../support/controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import { type MeshLab, poll } from '../support/mesh-lab.ts'

async function refuseForLayer7(t: Test, lab: MeshLab, controller: ControllerProcess): Promise<void> {
  const policy =
    '{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: no-delete, namespace: shop}, ' +
    'spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}}'
  const known = (await lab.records('n2')).length
  await controller.configure(`${clusterYaml(PODS, [])}\n---\n${policy}`)
  const record = await poll('front is refused', async () => {
    if (await isGreeted(lab, 'front')) return null
    return (await lab.records('n2')).slice(known).find(({ reason }) => reason === 'POLICY_NEEDS_L7') ?? null
  })
  t.match(record, {
    policy: 'shop/sidestep_needs_l7_no-delete',
    detail: /^shop\/no-delete has to look into/,
  })
  await controller.configure(clusterYaml(PODS, ['batch']))
  await poll('front is let in', async () => (await isGreeted(lab, 'front')) || null)
}

/** What both nodes have counted comes to the controller. */
async function hearEdges(t: Test, controller: ControllerProcess): Promise<void> {
  const party = (name: string): object => ({
    namespace: 'shop',
    identity: `spiffe://cluster.local/ns/shop/sa/${name}`,
  })
  // Both callers were let in, and refused, by the policies before.
  const { good, denied } = await poll('the edges of both nodes', async () => {
    const { edges } = (await controller.admin('/edges?namespace=shop')) as { edges: KeptEdge[] } // as: the route's answer
    const good = edges.find(
      ({ reporter, reason, opened, source }) =>
        reporter === 'source' && reason === 'OK' && opened > 0 && source?.workload === 'front',
    )
    const denied = edges.find(
      ({ reporter, reason, source }) =>
        reporter === 'destination' && reason === 'POLICY_DENY' && source?.workload === 'batch',
    )
    return good !== undefined && denied !== undefined ? { good, denied } : null
  })
  t.match(good, { node: 'n1', isPlaintext: false, source: party('front'), destination: party('cart') })
  t.ok(good.sentBytes > 0 && good.failed === 0)
  t.match(denied, { node: 'n2', source: party('batch'), destination: party('cart') })
  t.ok(denied.failed > 0)
}

t.test('two nodes under a controller', { timeout: 120_000 }, async (t) => {
  const { lab, controller } = await startControlledLab(t)

  await t.test(
    'who may call calls through tunnels, who may not is refused by the policy’s name',
    async (t) => {
      await poll('front is greeted', async () => (await isGreeted(lab, 'front')) || null)
      t.notOk(await isGreeted(lab, 'batch'))
      const [refused] = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'POLICY_DENY')
      t.match(JSON.stringify(refused), /shop\/no-batch/)
      const [good] = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'OK')
      t.match(JSON.stringify(good), /spiffe:\/\/cluster\.local\/ns\/shop\/sa\/front/)
    },
  )

  await t.test('the controller knows both nodes, by their certificates', async (t) => {
    const clients = (await controller.admin('/clients')) as { node: string; caller: string }[] // as: the route's answer
    t.same(clients.map(({ node, caller }) => [node, caller]).toSorted(), [
      ['n1', 'node certificate'],
      ['n2', 'node certificate'],
    ])
    t.same(await controller.admin('/findings'), { mistakes: [], findings: [], refused: [] })
  })

  await t.test('a change of policy is in force within a moment', async (t) => {
    await controller.configure(clusterYaml(PODS, []))
    await poll('batch is let in', async () => (await isGreeted(lab, 'batch')) || null)
    await controller.configure(clusterYaml(PODS, ['front']))
    await poll('front is refused', async () => !(await isGreeted(lab, 'front')) || null)
    await controller.configure(clusterYaml(PODS, ['batch']))
    await poll('batch is refused', async () => !(await isGreeted(lab, 'batch')) || null)
    t.ok(await isGreeted(lab, 'front'))
  })

  await t.test('a policy that needs layer 7 and has no waypoint refuses, by its own code and name', (t) =>
    refuseForLayer7(t, lab, controller),
  )

  await t.test('a mistake in a file is named; what was good stays in force', async (t) => {
    await controller.configure(
      `${clusterYaml(PODS, ['batch'])}\n---\n{apiVersion: v1, kind: Pod, metadata: [`,
    )
    const found = await poll('the mistake', async () => {
      const { mistakes } = (await controller.admin('/findings')) as {
        mistakes: { origin: { file: string } }[]
      } // as: the route's answer
      return mistakes[0] ?? null
    })
    t.match(found.origin.file, /mesh\.yaml$/)
    t.ok(await isGreeted(lab, 'front'))
    t.notOk(await isGreeted(lab, 'batch'))
    await controller.configure(clusterYaml(PODS, ['batch']))
  })

  await t.test('the controller hears who talks to whom, and how it ends', (t) => hearEdges(t, controller))

  await t.test('without the controller everything goes on', async (t) => {
    const open = lab.connect('front', CART_VIP, 91)
    await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    await controller.kill()
    t.ok(await isGreeted(lab, 'front'))
    t.notOk(await isGreeted(lab, 'batch'))
    open.write('still there')
    await open.until('the echo', ({ text }) => text.endsWith('still there'))
    const status = await poll('the node notices', async () => {
      const dump = JSON.parse((await lab.admin('n1', '/config_dump')).text) as {
        source: { isConnected: boolean; lastFailure: string }
      } // as: the route's answer
      return dump.source.isConnected ? null : dump.source
    })
    t.not(status.lastFailure, '')
    t.ok(await isGreeted(lab, 'front'))
    open.destroy()
  })

  await t.test('the controller is back: nodes find it and hear what changed', async (t) => {
    await controller.configure(clusterYaml(PODS, []))
    await controller.start()
    await poll('batch is let in', async () => (await isGreeted(lab, 'batch')) || null, 40_000)
    t.ok(await isGreeted(lab, 'front'))
  })

  await t.test('neither keys nor tokens are in a log', async (t) => {
    for (const name of ['n1.log', 'n2.log', 'controller.log']) {
      const text = readFileSync(join(lab.directory, name), 'utf8')
      t.notMatch(text, /PRIVATE KEY|sidestep-join\.[0-9a-f]{24}\./, name)
    }
  })
})
