// SPDX-License-Identifier: Apache-2.0
// The question that runs in a ztunnel's container runs here for real, against a server on a socket; only the container and
// the kubelet are missing.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openCluster } from '../../../cli/fleet/cluster.ts'
import { startExecApiserver } from '../../support/exec-apiserver.ts'

const directory = mkdtempSync(join(tmpdir(), 'cluster-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const [socket, kubeconfig] = [join(directory, 'admin.sock'), join(directory, 'kubeconfig')]
const asked: string[] = []
const admin = createServer(({ method, url }, response) => {
  asked.push(`${method} ${url}`)
  if (url === '/missing') response.writeHead(404)
  response.end(url === '/large' ? 'ü'.repeat(500_000) : '{"answer":1}')
}).listen(socket)
await once(admin, 'listening')
t.teardown(() => void admin.close())
const apiserver = await startExecApiserver(kubeconfig)
t.teardown(() => apiserver.close())
apiserver.environment = () => ({ SIDESTEP_ADMIN_SOCKET: socket })
const ztunnel = (name: string, nodeName: string, phase = 'Running') => ({
  ...{ namespace: 'istio-system', name, nodeName, app: 'ztunnel', ip: '10.0.0.1', phase },
})
apiserver.pods.push(ztunnel('z-1', 'n1'), ztunnel('z-2', 'n2'), ztunnel('z-0', 'n0', 'Pending'))
apiserver.pods.push({ namespace: 'shop', name: 'cart', nodeName: 'n2', app: 'cart', ip: '10.2.0.1' })
apiserver.pods.push({ namespace: 'other', name: 'front', nodeName: 'n1', app: 'front', ip: '10.1.0.1' })
apiserver.pods.push({ namespace: 'shop', name: 'front', nodeName: 'n2', app: 'front', ip: '10.1.0.2' })
const open = () => openCluster({ kubeconfig, context: '' })

t.test('every ztunnel that runs is a node, known by the name of its node', async (t) => {
  const { nodes } = await open()
  t.strictSame(await Promise.all(nodes.map((node) => node.name())), ['n1', 'n2'])
})

t.test('a question runs in the pod, and its answer comes back whole', async (t) => {
  const [first] = (await open()).nodes
  apiserver.execs.length = 0
  t.equal(await first?.read('/node'), '{"answer":1}')
  t.equal(await first?.post('/logging?level=debug'), '{"answer":1}')
  t.equal((await first?.read('/large'))?.length, 500_000)
  t.strictSame(asked, ['GET /node', 'POST /logging?level=debug', 'GET /large'])
  t.strictSame(new Set(apiserver.execs), new Set(['istio-system/z-1/ztunnel']))
  await t.rejects(async () => await first?.read('/missing'), /n1 refuses \/missing: 404/)
})

t.test('an answer that goes on is passed on as it comes', async (t) => {
  const [first] = (await open()).nodes
  const read = async (path: string): Promise<string> => {
    const chunks: Buffer[] = []
    for await (const chunk of first?.stream(path, new AbortController().signal) ?? []) chunks.push(chunk)
    return Buffer.concat(chunks).toString('utf8')
  }
  t.equal(await read('/large'), 'ü'.repeat(500_000))
  await t.rejects(read('/missing'), { exitCode: 3, message: /n1 refuses \/missing: 404/ })
  const stopped = new AbortController()
  let length = 0
  for await (const chunk of first?.stream('/large', stopped.signal) ?? []) {
    length += chunk.length
    stopped.abort()
  }
  t.ok(length > 0, 'who leaves gets no error')
})

t.test('the apiserver says where a pod is; whom it cannot tell, all are asked', async (t) => {
  const fleet = await open()
  const names = async (pod: string) =>
    await Promise.all((await fleet.nodesOf(pod)).map((node) => node.name()))
  t.strictSame(await names('shop/cart'), ['n2'])
  t.strictSame(await names('cart'), ['n2'])
  t.strictSame(await names('10.1.0.1'), ['n1'])
  t.strictSame(await names('front'), ['n1', 'n2'], 'two have that name')
  t.strictSame(await names('nobody'), ['n1', 'n2'])
})

t.test('a ztunnel that does not answer, and one that nobody may ask', async (t) => {
  const [first] = (await open()).nodes
  apiserver.environment = () => ({ SIDESTEP_ADMIN_SOCKET: '/nowhere' })
  await t.rejects(async () => await first?.read('/node'), /n1 does not answer: .*ENOENT/)
  apiserver.environment = () => undefined
  await t.rejects(async () => await first?.read('/node'), /n1 does not answer: .*403/)
})

t.test('a cluster that is not there is said to be none', async (t) => {
  const usage = { exitCode: 2, message: /./ }
  await t.rejects(openCluster({ kubeconfig: join(directory, 'none'), context: '' }), usage)
  await t.rejects(openCluster({ kubeconfig, context: 'other' }), { exitCode: 2, message: /no context other/ })
  apiserver.pods.length = 0
  await t.rejects(open(), { exitCode: 3, message: 'no ztunnel runs in this cluster' })
})
