// SPDX-License-Identifier: Apache-2.0
// Nodes that learn of the mesh what they serve and what is called, under a real controller: the first call waits for one
// answer, strangers are passed through, without a controller what is known goes on and what is not has a code.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isGreeted, PODS, startControlledLab } from '../support/controlled-lab.ts'
import { clusterYaml } from '../support/controller-process.ts'
import { type LabRecord, type MeshLab, poll } from '../support/mesh-lab.ts'

const AGENT = fileURLToPath(new URL('../support/pod-agent.ts', import.meta.url))
const STRANGER_IP = '10.1.0.3'
const CART_IP = '10.2.0.1'
const FIRST_CALL_MS = 1000
const OTHERS = 500
const ON_DEMAND = { SIDESTEP_ON_DEMAND: 'true', SIDESTEP_DNS_CAPTURE: 'false', SIDESTEP_SOCKS5: 'false' }

/** The shop among many pods that nobody here calls. */
function crowdedMesh(more = ''): string {
  const others = Array.from({ length: OTHERS }, (_, index) => ({
    name: `other-${index}`,
    ip: `10.9.${index >> 8}.${index & 255}`,
    node: 'n9',
  }))
  return clusterYaml([...PODS, ...others], []) + more
}

const directPods = (yaml: string): string =>
  yaml.replace(
    'labels: {sidestep.dev/mode: ambient}',
    'labels: {sidestep.dev/mode: ambient}, annotations: {sidestep.dev/same-node: direct}',
  )
const NETWORK_POLICY =
  '\n---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: guard, namespace: shop}, ' +
  'spec: {podSelector: {matchLabels: {app: batch}}}}'

/** Names of the workloads that n1 knows. */
async function knownTo(lab: MeshLab, node: 'n1' | 'n2'): Promise<string[]> {
  const { text } = await lab.admin(node, '/config_dump')
  const { workloads } = JSON.parse(text) as { workloads: { name: string }[] } // as: the route's answer
  return workloads.map(({ name }) => name).toSorted()
}

/** Calls a port that answers or refuses; the record at the caller's node. */
async function call(lab: MeshLab, ip: string, port: number): Promise<LabRecord> {
  const known = (await lab.records('n1')).length
  const socket = lab.connect('front', ip, port)
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  await socket.until('an end', ({ text, isClosed, hasEnded }) => text !== '' || isClosed || hasEnded)
  socket.destroy()
  const [record] = await lab.recordsAfter(
    'n1',
    known,
    (each) =>
      each.direction === 'outbound' && (each['dst.hbone_addr'] ?? each['dst.addr']) === `${ip}:${port}`,
  )
  return record ?? {}
}

t.setTimeout(150_000)
t.test('discovery on demand', { timeout: 130_000 }, async (t) => {
  const { lab, controller } = await startControlledLab(t, () => ON_DEMAND)
  await controller.configure(crowdedMesh())
  const start = (): ChildProcess =>
    spawn(process.execPath, ['--no-warnings', AGENT, 'serve'], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  for (const pod of ['stranger', 'batch'] as const) {
    const application = lab.namespaceOf(pod).run(start)
    t.teardown(() => {
      if (application.connected) application.disconnect()
    })
    await once(application, 'message')
  }

  await t.test('a node knows the pods it serves, and what their services have', async (t) => {
    t.same(await knownTo(lab, 'n1'), ['batch', 'front'])
    t.same(await knownTo(lab, 'n2'), ['cart'])
  })

  await t.test('a first call is answered within a second, and is known from then on', async (t) => {
    const startedMs = performance.now()
    t.ok(await isGreeted(lab, 'front'))
    const firstMs = performance.now() - startedMs
    t.ok(firstMs < FIRST_CALL_MS, `${Math.round(firstMs)} ms`)
    t.same(await knownTo(lab, 'n1'), ['batch', 'cart', 'front'])
    const [record] = await lab.recordsAfter('n1', 0, ({ direction }) => direction === 'outbound')
    t.match(record, { reason: 'OK', transport: 'HBONE' })
  })

  await t.test('an address that is nobody’s of the mesh is passed through', async (t) => {
    const startedMs = performance.now()
    t.match(await call(lab, STRANGER_IP, 8080), { reason: 'OK', transport: 'TCP' })
    t.ok(performance.now() - startedMs < FIRST_CALL_MS)
    t.same(await knownTo(lab, 'n1'), ['batch', 'cart', 'front'])
  })

  await t.test('without the controller what is known goes on, what is not is refused by name', async (t) => {
    await controller.kill()
    await poll('the stream is gone', async () => {
      const { text } = await lab.admin('n1', '/node')
      return (JSON.parse(text) as { source: { isConnected: boolean } }).source.isConnected ? null : true // as: the route's answer
    })
    t.ok(await isGreeted(lab, 'front'))
    t.match(await call(lab, CART_IP, 8080), { reason: 'OK', transport: 'HBONE' })
    t.match(await call(lab, STRANGER_IP, 8080), { reason: 'OK', transport: 'TCP' })
    t.match(await call(lab, '10.9.0.7', 8080), { reason: 'DISCOVERY_UNANSWERED' })
  })

  await t.test('when it is back, what was refused is known', async (t) => {
    await controller.start()
    await poll('other-7 is known', async () => (await knownTo(lab, 'n1')).includes('other-7') || null, 30_000)
    t.same(await knownTo(lab, 'n1'), ['batch', 'cart', 'front', 'other-7'])
    t.ok(await isGreeted(lab, 'front'))
  })

  await t.test(
    'pods that are annotated so take no tunnel inside the node, until a NetworkPolicy selects one',
    async (t) => {
      const transport = async (): Promise<unknown> => (await call(lab, '10.1.0.2', 8080)).transport
      t.equal(await transport(), 'HBONE')
      await controller.configure(directPods(crowdedMesh()))
      await poll('without a tunnel', async () => (await transport()) === 'LOCAL' || null)
      await controller.configure(directPods(crowdedMesh(NETWORK_POLICY)))
      await poll('through a tunnel', async () => (await transport()) === 'HBONE' || null)
      const { findings } = (await controller.admin('/findings')) as { findings: { code: string }[] } // as: the route's answer
      t.match(findings, [{ code: 'SAME_NODE_IGNORED' }])
    },
  )
})
