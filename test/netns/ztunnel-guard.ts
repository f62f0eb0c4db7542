// SPDX-License-Identifier: Apache-2.0
// A strict pod stays strict while somebody flushes the rules inside it: real processes of two nodes, the guard on the second.
// The apiserver is a program of the tests.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FakeApiserver } from '../support/fake-apiserver.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { enterCgroup } from '../support/pod-cgroup.ts'
import { serveTls } from '../support/tls-apiserver.ts'

const CART = '10.2.0.1'
const [HTTP, MIRROR, GREETER] = [8080, 9000, 9001]
/** A damaged redirection is mended within this. */
const FLUSHES = 20
const MENDED_MS = 15_000
const UID = `cccccccc-0000-4000-8000-${String(process.pid).padStart(12, '0')}`
const STRICT = 'converted_peer_authentication_cart'
/** Strict but for the greeter. */
const MESH = labMesh([])
  .replace('uid: cart,', `uid: cart, authorizationPolicies: [shop/${STRICT}],`)
  .replace(
    'policies:\n',
    `policies:\n- {name: ${STRICT}, namespace: shop, scope: WorkloadSelector, action: Deny, dryRun: false, ` +
      `rules: [[[{notPrincipals: [!Presence []]}], [{notDestinationPorts: [${GREETER}]}]]]}\n`,
  )

t.setTimeout(120_000)
const apiserver = new FakeApiserver()
await apiserver.listen()
t.teardown(() => apiserver.close())
apiserver.fault = ({ path, response }) => {
  if (!/\/status$|\/events$/.test(path)) return undefined
  response.end('{}')
  return 'handled'
}
apiserver.put({
  ...{ apiVersion: 'v1', kind: 'Namespace' },
  metadata: { name: 'shop', labels: { 'sidestep.dev/mode': 'ambient' } },
})
const directory = labDirectory(t)
const lab = await MeshLab.start(directory, MESH, {}, async (lab) => {
  const files = join(directory, 'account')
  mkdirSync(files)
  const { options, close } = await serveTls(apiserver, lab.network.node('n2').namespace, files)
  t.teardown(close)
  // A client's own address at the application is one that only whole rules lead answers back to.
  return { n1: {}, n2: { ...options, SIDESTEP_ORIGINAL_SOURCE: 'false' } }
})
t.teardown(() => lab.close())
t.teardown(enterCgroup(lab.pidOf('cart'), `kubepods/burstable/pod${UID}/c1`))
const pod = {
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name: 'cart', namespace: 'shop', uid: UID, labels: {} },
  spec: { nodeName: 'n2', serviceAccountName: 'cart' },
  status: { phase: 'Running', podIP: CART, podIPs: [{ ip: CART }] },
}
apiserver.put(pod)

const onNode = (command: string): string =>
  lab.network.node('n2').namespace.run(() => spawnSync('sh', ['-c', command], { encoding: 'utf8' }).stdout)
const inCart = (command: string): string =>
  lab.namespaceOf('cart').run(() => spawnSync('sh', ['-c', command], { encoding: 'utf8' }).stdout)
const isRedirected = (): boolean => /sidestep-nat/.test(inCart('nft list tables'))
const hasGuard = (): boolean => onNode('nft list ruleset').includes(`ip daddr ${CART} counter`)

/** How a connection from this pod ends: `refused`, or what it was sent. */
async function call(from: LabPod, port: number, text = ''): Promise<string> {
  const socket = lab.connect(from, CART, port)
  if (text !== '') socket.write(text)
  const isDone = ({ isClosed, hasEnded, text }: LabSocket): boolean =>
    isClosed || hasEnded || text.endsWith('\n')
  await socket.until('an end', isDone)
  socket.destroy()
  if (socket.error === 'ECONNREFUSED' && socket.text === '') return 'refused'
  return socket.text || socket.error
}
const probe = (): string => onNode(`curl -sS -m 3 http://${CART}:${HTTP}/ 2>&1`)

await poll('the guard stands', () => hasGuard() || null).catch((error: Error) => {
  throw new Error(`${error.message}\n${lab.log('n2')}`)
})
await poll('cart is served', async () => (await call('front', GREETER)) === '220 cart\r\n' || null)

t.test('plaintext is refused on the node, with the record that it would have had in the pod', async (t) => {
  const known = (await lab.records('n2')).length
  t.equal(await call('stranger', HTTP, 'GET / HTTP/1.0\r\n\r\n'), 'refused')
  const [record] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'PLAINTEXT_REFUSED')
  t.match(record, {
    ...{ direction: 'inbound', transport: 'TCP', policy: `shop/${STRICT}`, bytes_recv: 0 },
    ...{ 'dst.workload': 'cart', 'dst.addr': `${CART}:${HTTP}`, detail: 'shop/cart demands an identity' },
  })
  t.match(record?.['src.addr'], /^10\.1\.0\.3:/)
  t.equal(await call('stranger', GREETER), '220 cart\r\n', 'a permissive port takes it')
  t.match(probe(), 'client 169.254.7.127', 'and the kubelet’s probes pass')
})

t.test(
  'while the rules inside are flushed nothing gets in, and nobody who is encrypted is cut off',
  async (t) => {
    const tunnelled = lab.connect('front', CART, GREETER)
    await tunnelled.until('a greeting', ({ text }) => text === '220 cart\r\n')
    const known = (await lab.records('n2')).length
    let [callCount, flushedCount] = [0, 0]
    tunnelled.write('still here\n')
    // The first flush is mended in a moment, those that follow at once have to wait a little.
    while (callCount < FLUSHES) {
      inCart('nft flush ruleset')
      const answer = await call('stranger', MIRROR, 'plain\n')
      callCount++
      if (!isRedirected()) flushedCount++
      if (answer !== 'refused') t.fail(`answered ${answer}`)
      if (callCount === 1) t.match(probe(), 'client 169.254.7.127', 'probes pass')
      if (callCount % 10 === 3)
        t.equal(await call('front', GREETER), '220 cart\r\n', 'and who comes by a tunnel')
      if (callCount === 2) t.equal(await call('stranger', GREETER), '220 cart\r\n', 'the permissive port too')
    }
    await poll('mended', () => isRedirected() || null, MENDED_MS)
    t.ok(flushedCount > 0, `${flushedCount} of ${callCount} while they were flushed`)
    await tunnelled.until('the echo', ({ text }) => text.endsWith('still here\n'))
    t.equal(tunnelled.isClosed, false, `${tunnelled.error}, and its records are told`)
    if (tunnelled.isClosed)
      for (const node of ['n1', 'n2'] as const)
        t.comment(
          node,
          JSON.stringify((await lab.records(node)).filter(({ reason }) => reason !== 'PLAINTEXT_REFUSED')),
        )
    const records = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'PLAINTEXT_REFUSED')
    t.ok(records.length > 0 && records.every((record) => record['dst.addr'] === `${CART}:${MIRROR}`))
    t.match(lab.log('n2'), 'NOT_ENROLLED')
    t.equal(await call('front', GREETER), '220 cart\r\n')
  },
)

t.test('it stands while processes are replaced, and is mended', async (t) => {
  for (const pid of lab.dataPids('n2')) process.kill(pid, 'SIGKILL')
  inCart('nft flush ruleset')
  t.ok(hasGuard())
  t.equal(await call('stranger', MIRROR, 'plain\n'), 'refused')
  await lab.killSupervisor('n2')
  t.ok(hasGuard())
  t.equal(await call('stranger', MIRROR, 'plain\n'), 'refused')
  await lab.revive('n2')
  await lab.ready('n2')
  await poll('cart is served again', async () => (await call('front', GREETER)) === '220 cart\r\n' || null)
  t.ok(hasGuard())
  onNode('nft delete table inet sidestep-guard')
  await poll('mended', () => hasGuard() || null, MENDED_MS)
})

t.test('after a start without apiserver it is mended too', async (t) => {
  const answer = apiserver.fault
  let isAway = true
  apiserver.fault = (request) => {
    if (!isAway) return answer(request)
    request.response.destroy()
    return 'handled'
  }
  await poll(
    'the list of pods is saved',
    () => existsSync(join(directory, 'state-n2', 'pods.sealed')) || null,
  )
  apiserver.cutWatches()
  await lab.kill('n2')
  const asked = apiserver.requests.length
  await lab.revive('n2')
  await lab.ready('n2')
  await poll('cart is served again', async () => (await call('front', GREETER)) === '220 cart\r\n' || null)
  await poll('the guard stands', () => hasGuard() || null)
  t.equal(await call('stranger', MIRROR, 'plain\n'), 'refused')
  onNode('nft flush ruleset')
  t.equal(onNode('nft list tables'), '')
  await poll('mended', () => hasGuard() || null, MENDED_MS)
  t.match(onNode('nft list tables'), /sidestep-probes/)
  t.ok(apiserver.requests.length > asked, 'the apiserver was asked, and never answered')
  isAway = false
  await poll('the apiserver is followed again', () => apiserver.watchCount >= 2 || null)
  t.ok(hasGuard())
})

t.test('it counts, as long as it lives, and follows the policies', async (t) => {
  const counted = async (): Promise<number> => {
    const { text } = await lab.admin('n2', '/metrics')
    return Number(/^sidestep_guard_refused_total\{namespace="shop",pod="cart"\} (\d+)$/m.exec(text)?.[1] ?? 0)
  }
  const before = await counted()
  t.equal(await call('stranger', HTTP), 'refused')
  await poll('one more', async () => (await counted()) === before + 1 || null, MENDED_MS)
  await lab.configure(labMesh([]))
  await poll(
    'cart takes plaintext',
    async () => /^HTTP/.test(await call('stranger', HTTP, 'GET / HTTP/1.0\r\n\r\n')) || null,
  )
  t.equal(onNode('nft list tables').includes('sidestep-guard'), false)
  await lab.configure(MESH)
  await poll('and no more', async () => (await call('stranger', HTTP)) === 'refused' || null)
})

t.test('a pod that leaves the mesh takes its guard along, and so does the node', async (t) => {
  await poll('the guard stands', () => hasGuard() || null)
  apiserver.put({ ...pod, metadata: { ...pod.metadata, labels: { 'sidestep.dev/mode': 'none' } } })
  await poll('it is gone', () => !onNode('nft list tables').includes('sidestep-guard') || null)
  t.match(await call('stranger', HTTP, 'GET / HTTP/1.0\r\n\r\n'), /^HTTP/)
  apiserver.put(pod)
  await poll('it is back', () => hasGuard() || null)
  t.equal(await lab.stop('n2'), '0')
  t.equal(onNode('nft list ruleset'), '')
})
