// SPDX-License-Identifier: Apache-2.0
// What docs/install.md says, done on two real nodes: the image is built and loaded, daemonset.yaml applied, all of it is
// ready within a minute, follows, is replaced, and leaves nothing.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { CLUSTER_TEST_MS, Cluster, KUBECTL } from '../../support/cluster.ts'
import { pageText, ROOT } from '../../support/documents.ts'
import { poll } from '../../support/mesh-lab.ts'

const SYSTEM = 'istio-system'
const READY_MS = 60_000
const STATUS_PORT = 15_021
const WAIT_MS = 60_000

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open(['node1', 'node2'])
t.teardown(() => cluster.close())
const programs = mkdtempSync(join(tmpdir(), 'programs-'))
t.teardown(() => rmSync(programs, { recursive: true }))
symlinkSync(KUBECTL, join(programs, 'kubectl'))
const env = {
  ...process.env,
  PATH: `${programs}:${dirname(process.execPath)}:${process.env.PATH}`,
  KUBECONFIG: cluster.kubeconfig,
}
const [buildImage = '', apply = '', remove = '', ...others] = [
  ...pageText('docs/install.md').matchAll(/^```bash\n(.*?)^```$/gms),
].map(([, block]) => block)

/** Runs the commands of a block as they stand on the page. */
async function runBlock(script: string): Promise<string> {
  const { stdout } = await promisify(execFile)('bash', ['-e', '-c', script], { cwd: ROOT, env })
  return stdout
}

interface Pod {
  readonly name: string
  readonly node: string
}

async function podsOf(app: string): Promise<readonly Pod[]> {
  const columns = 'jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\\n"}{end}'
  const text = await cluster.kubectl('-n', SYSTEM, 'get', 'pods', '-l', `app=${app}`, '-o', columns)
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name = '', node = ''] = line.split(' ')
      return { name, node }
    })
}

/** A metric of a pod, through the apiserver. */
async function metric(pod: Pod, name: string): Promise<number> {
  const path = `/api/v1/namespaces/${SYSTEM}/pods/${pod.name}:${STATUS_PORT}/proxy/metrics`
  const page = await cluster.kubectl('get', '--raw', path)
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(page)?.[1])
}

async function total(name: string): Promise<number> {
  const values = await Promise.all((await podsOf('sidestep-controller')).map((pod) => metric(pod, name)))
  return values.reduce((sum, value) => sum + value, 0)
}

/** What a line of JavaScript in the pod says. */
async function inPod({ name }: Pod, script: string): Promise<string> {
  const said = await cluster.kubectl('-n', SYSTEM, 'exec', name, '--', '/usr/local/bin/node', '-e', script)
  return said.trim()
}

t.test('what is applied is ready within a minute', async (t) => {
  t.same(others, [], 'the page has three blocks')
  await runBlock(buildImage)
  await cluster.loadImage(join(ROOT, 'tmp/sidestep.tar'))
  const startedMs = performance.now()
  t.match(await runBlock(apply), 'daemon set "ztunnel" successfully rolled out')
  const tookMs = Math.round(performance.now() - startedMs)
  t.ok(tookMs < READY_MS, `${tookMs} ms`)
  t.comment(`ready after ${tookMs} ms`)
  t.equal(
    new Set((await podsOf('sidestep-controller')).map(({ node }) => node)).size,
    2,
    'spread over both nodes',
  )
})

t.test('one controller leads; every ztunnel follows with the token of its pod', async (t) => {
  await poll(
    'one leads',
    async () => ((await total('sidestep_controller_leader')) === 1 ? true : null),
    WAIT_MS,
  )
  await poll(
    'both follow',
    async () => ((await total('sidestep_controller_clients')) === 2 ? true : null),
    WAIT_MS,
  )
  const logs = await Promise.all(
    (await podsOf('sidestep-controller')).map(({ name }) => cluster.kubectl('-n', SYSTEM, 'logs', name)),
  )
  const streams = logs
    .join('')
    .matchAll(/"node":"([^"]+)","caller":"istio-system\/ztunnel".*"discovery stream"/g)
  const nodes = (await podsOf('ztunnel')).map(({ node }) => node)
  t.equal(nodes.length, 2)
  t.same(new Set([...streams].map(([, node]) => node)), new Set(nodes))
})

t.test('no part can write its image, the controllers are nobody', async (t) => {
  const write = 'try{fs.writeFileSync("/app/x","");console.log("written")}catch(e){console.log(e.code)}'
  const rights =
    'console.log(process.getuid(),/CapEff:\\s*(\\w+)/.exec(fs.readFileSync("/proc/self/status"))[1])'
  const [controller] = await podsOf('sidestep-controller')
  const [ztunnel] = await podsOf('ztunnel')
  if (controller === undefined || ztunnel === undefined) throw new Error('no pods')
  t.same([await inPod(controller, write), await inPod(ztunnel, write)], ['EROFS', 'EROFS'])
  t.equal(await inPod(controller, rights), '65532 0000000000000000')
  // NET_ADMIN 12, NET_RAW 13, SYS_PTRACE 19, SYS_ADMIN 21
  const four = ((1 << 12) | (1 << 13) | (1 << 19) | (1 << 21)).toString(16).padStart(16, '0')
  t.equal(await inPod(ztunnel, rights), `0 ${four}`)
})

t.test('the leader is deleted: the other leads, and ztunnels are replaced meanwhile', async (t) => {
  const controllers = await podsOf('sidestep-controller')
  const leads = await Promise.all(controllers.map((pod) => metric(pod, 'sidestep_controller_leader')))
  const leader = controllers[leads.indexOf(1)]
  const before = await podsOf('ztunnel')
  await cluster.kubectl('-n', SYSTEM, 'delete', 'pod', leader?.name ?? '', '--wait=false')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'restart', 'daemonset/ztunnel')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'daemonset/ztunnel', '--timeout=90s')
  await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=60s')
  const names = new Set(before.map(({ name }) => name))
  await poll(
    'the old ones are gone',
    async () => ((await podsOf('ztunnel')).every(({ name }) => !names.has(name)) ? true : null),
    WAIT_MS,
  )
  await poll(
    'one leads, both follow',
    async () => {
      const told = await Promise.all(
        ['leader', 'clients'].map((each) => total(`sidestep_controller_${each}`)),
      )
      return told.join() === '1,2' ? true : null
    },
    WAIT_MS,
  )
  t.ok((await podsOf('sidestep-controller')).every(({ name }) => name !== leader?.name))
})

t.test('what is removed leaves nothing of ours in the cluster', async (t) => {
  const kinds = 'clusterroles,clusterrolebindings,priorityclasses,namespaces'
  await runBlock(remove)
  const left = await cluster.kubectl('get', kinds, '-o', 'name')
  t.same(
    left.split('\n').filter((line) => /sidestep|ztunnel|istio/.test(line)),
    [],
  )
  const all =
    'pods,services,deployments,daemonsets,configmaps,secrets,serviceaccounts,leases,poddisruptionbudgets'
  const objects = await cluster.kubectl('get', all, '-A', '-o', 'name')
  t.same(
    objects.split('\n').filter((line) => /sidestep|ztunnel|istio/.test(line)),
    [],
  )
})
