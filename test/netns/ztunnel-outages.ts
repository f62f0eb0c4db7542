// SPDX-License-Identifier: Apache-2.0
// The way to the controller is cut without a word, is slow, stands still: all the while traffic goes on as the policies
// say, and what was changed meanwhile arrives when the way is back. Real processes, observed from outside only.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { PODS, startControlledLab } from '../support/controlled-lab.ts'
import { type ControllerProcess, clusterYaml } from '../support/controller-process.ts'
import { LabTraffic } from '../support/lab-traffic.ts'
import { type LabNode, type MeshLab, poll } from '../support/mesh-lab.ts'

const PROXY = fileURLToPath(new URL('../support/tcp-proxy.ts', import.meta.url))
const PROXY_PORT = 15_013
/** Each way: a connection takes two rounds, and a controller is given 5 s for it. */
const SLOW_MS = 1_000
/** A stream that says nothing is asked after 30 s, and given up 10 s later. */
const NOTICED_MS = 60_000
const NODES = ['n1', 'n2'] as const

t.setTimeout(240_000)

interface Mesh {
  readonly lab: MeshLab
  readonly controller: ControllerProcess
  readonly proxy: ChildProcess
  readonly traffic: LabTraffic
}

async function openMesh(t: Test): Promise<Mesh> {
  let proxy: ChildProcess | null = null
  const { lab, controller } = await startControlledLab(t, (_, network) => {
    const { namespace, ip } = network.node('control')
    const args = ['--no-warnings', PROXY, String(PROXY_PORT), ip, '15012', String(SLOW_MS)]
    proxy ??= namespace.run(() => spawn(process.execPath, args, { stdio: 'inherit', env: {} }))
    return { SIDESTEP_CONTROLLER_ADDRESSES: `${ip}:${PROXY_PORT}` }
  })
  if (proxy === null) throw new Error('there is no proxy')
  const started: ChildProcess = proxy
  t.teardown(() => void started.kill('SIGKILL'))
  return { lab, controller, proxy, traffic: await LabTraffic.start(t, lab) }
}

/** The metric of a node without a controller, in seconds. */
async function disconnectedSeconds(lab: MeshLab, node: LabNode): Promise<number> {
  const { text } = await lab.admin(node, '/metrics')
  return Number(/^sidestep_controller_disconnected_seconds (\d+)$/m.exec(text)?.[1])
}

/** A pod more, which nobody calls. */
async function change(controller: ControllerProcess, name: string): Promise<void> {
  await controller.configure(clusterYaml([...PODS, { name, ip: '10.2.0.9', node: 'n2' }], ['batch']))
}

async function knows(lab: MeshLab, node: LabNode, name: string): Promise<boolean> {
  const { workloads } = JSON.parse((await lab.admin(node, '/config_dump')).text) as {
    workloads: { name: string }[] // as: our API
  }
  return workloads.some((workload) => workload.name === name)
}

async function arrives(lab: MeshLab, name: string): Promise<void> {
  for (const node of NODES)
    await poll(`${node} knows of ${name}`, async () => (await knows(lab, node, name)) || null, NOTICED_MS)
}

async function testPartition(t: Test, { lab, controller, traffic }: Mesh): Promise<void> {
  await t.test(
    'packets to and from the controller are lost, until that is noticed, and then not',
    async (t) => {
      const { namespace } = lab.network.node('control')
      const nft = (text: string): void => void namespace.run(() => execFileSync('nft', [text]))
      for (const node of NODES) t.equal(await disconnectedSeconds(lab, node), 0)
      const dropAll = (hook: string, link: string): string =>
        `add chain inet cut ${hook} { type filter hook ${hook} priority 0; }; ` +
        `add rule inet cut ${hook} ${link} != "lo" drop`
      nft(`add table inet cut; ${dropAll('input', 'iifname')}; ${dropAll('output', 'oifname')}`)
      await change(controller, 'behind')
      const cutMs = performance.now()
      for (const node of NODES)
        await poll(
          `${node} notices`,
          async () => (await disconnectedSeconds(lab, node)) > 0 || null,
          NOTICED_MS,
        )
      t.comment(`noticed after ${((performance.now() - cutMs) / 1000).toFixed(1)} s`)
      await traffic.fine(t, 'cut off')
      for (const node of NODES) {
        t.match(lab.log(node), /"reason":"CONFIG_STALE"/)
        t.notOk(await knows(lab, node, 'behind'))
      }
      nft('delete table inet cut')
      await arrives(lab, 'behind')
      for (const node of NODES) t.equal(await disconnectedSeconds(lab, node), 0)
      await traffic.fine(t, 'healed')
    },
  )
}

async function testSlowness(t: Test, { lab, controller, proxy, traffic }: Mesh): Promise<void> {
  await t.test('a controller that answers seconds late is followed, seconds late', async (t) => {
    proxy.kill('SIGUSR2')
    const startMs = performance.now()
    await change(controller, 'late')
    await arrives(lab, 'late')
    t.ok(performance.now() - startMs >= SLOW_MS)
    await traffic.fine(t, 'slow')
    // Also when the stream has to begin anew.
    await controller.kill()
    await controller.start()
    await change(controller, 'later')
    await arrives(lab, 'later')
    await traffic.fine(t, 'slow from the beginning')
    proxy.kill('SIGUSR2')
  })

  await t.test('a stream that stands still in the middle of a change goes on with it', async (t) => {
    proxy.kill('SIGSTOP')
    await change(controller, 'still')
    await new Promise((resolve) => setTimeout(resolve, 5_000))
    await traffic.fine(t, 'while it stands still')
    for (const node of NODES) t.notOk(await knows(lab, node, 'still'))
    proxy.kill('SIGCONT')
    await arrives(lab, 'still')
    await traffic.fine(t, 'when it goes on')
  })
}

t.test('the way to the controller', { timeout: 240_000 }, async (t) => {
  const mesh = await openMesh(t)
  await testPartition(t, mesh)
  await testSlowness(t, mesh)
  await mesh.traffic.end(t, 500)
})
