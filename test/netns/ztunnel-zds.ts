// SPDX-License-Identifier: Apache-2.0
// Two real nodes whose pods are enrolled by an agent that speaks Istio's ZDS, while they run.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { ZdsAgent, type ZdsConnection } from '../support/zds-agent.ts'

const CART_IP = '10.2.0.1'
const GREETER_PORT = 9001
t.setTimeout(120_000)

interface Node {
  readonly agent: ZdsAgent
  readonly path: string
}

async function startLab(t: Test) {
  const sockets = mkdtempSync(join(tmpdir(), 'zds-'))
  t.teardown(() => rmSync(sockets, { recursive: true }))
  const open = (name: LabNode): Node => {
    const path = join(sockets, name)
    const agent = new ZdsAgent(path)
    t.teardown(() => agent.close())
    return { agent, path }
  }
  const nodes = { n1: open('n1'), n2: open('n2') }
  const optionsOf = (name: LabNode) => ({
    SIDESTEP_ENROLMENT_FILE: '',
    SIDESTEP_ZDS_SOCKET: nodes[name].path,
  })
  const connections: Partial<Record<LabNode, ZdsConnection>> = {}
  const connect = async (name: LabNode): Promise<ZdsConnection> => {
    const connection = await nodes[name].agent.accept()
    await connection.next() // hello
    connections[name] = connection
    return connection
  }
  const { promise: made, resolve: onMade } = Promise.withResolvers<MeshLab>()
  const add = async (connection: ZdsConnection, pod: LabPod): Promise<string | null> =>
    await connection.add(pod, NetworkNamespace.open((await made).namespaceOf(pod).path).fd)
  /** A node is ready when its agent has named all pods. */
  const name = async (node: LabNode, pods: readonly LabPod[]): Promise<ZdsConnection> => {
    const connection = await connect(node)
    const lab = await made
    await poll(`${node} waits`, async () => {
      const answer = await lab.admin(node, '/ready').catch(() => null)
      return answer?.text === 'not ready, pending: CNI agent\n' || null
    })
    for (const pod of pods) t.equal(await add(connection, pod), '', pod)
    t.equal(await connection.ask(SNAPSHOT), '')
    return connection
  }
  const naming = Promise.all([name('n1', ['front', 'batch']), name('n2', ['cart'])])
  const lab = await MeshLab.start(labDirectory(t), labMesh(['batch']), {}, async (lab) => {
    onMade(lab)
    return { n1: optionsOf('n1'), n2: optionsOf('n2') }
  })
  t.teardown(() => lab.close())
  const [n1, n2] = await naming
  return { lab, n1, n2, add, connect }
}

const SNAPSHOT = { case: 'snapshotSent', value: {} } as const

/** The names of the tables in the namespace that the thread is in. */
const spawnTables = (): string => spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout

const metricsOf = async (lab: MeshLab, node: LabNode): Promise<string> =>
  (await lab.admin(node, '/metrics')).text

async function answer(lab: MeshLab, pod: LabPod): Promise<string> {
  const socket = lab.connect(pod, CART_IP, GREETER_PORT)
  await socket.until('an answer', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  const { text } = socket
  socket.destroy()
  return text
}

t.test('an agent enrols pods while they run, and takes them out again', async (t) => {
  const { lab, n1, n2, add, connect } = await startLab(t)
  await t.test('traffic flows through tunnels, and is refused by policy', async (t) => {
    await poll('front is greeted', async () => (await answer(lab, 'front')) === '220 cart\r\n' || null)
    t.equal(await answer(lab, 'batch'), '')
    const [refused] = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'POLICY_DENY')
    t.match(JSON.stringify(refused), /no-batch/)
  })

  await t.test('the agent restarts: open connections live on, everything stays enrolled', async (t) => {
    const open = lab.connect('front', CART_IP, GREETER_PORT)
    await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    n1.close()
    await poll('the node is not ready', async () => (await lab.admin('n1', '/ready')).status === 500 || null)
    t.match(await metricsOf(lab, 'n1'), /^sidestep_zds_synced 0$/m)
    const again = await connect('n1')
    t.equal(await add(again, 'front'), '', 'the same namespace by another descriptor')
    t.equal(await again.ask({ case: 'keep', value: { uid: 'batch' } }), '')
    t.equal(await again.ask(SNAPSHOT), '')
    await lab.ready('n1')
    t.match(lab.log('n1'), /"reason":"ZDS_UNAVAILABLE","detail":"it has closed the connection"/)
    open.write('still there')
    await open.until('the echo', ({ text }) => text.endsWith('still there'))
    open.destroy()
    t.equal(await answer(lab, 'batch'), '', 'batch is still in the mesh, and refused')
    t.equal(await again.ask({ case: 'del', value: { uid: 'batch' } }), '')
  })

  await t.test('a pod that is taken out is plain again, and its rules are gone', async (t) => {
    // Out of the mesh batch has no identity: cart, which is not strict, lets it in as anybody.
    await poll('batch is greeted', async () => (await answer(lab, 'batch')) === '220 cart\r\n' || null)
    const tables = lab.namespaceOf('batch').run(() => spawnTables())
    t.notMatch(tables, /sidestep/)
    t.match(
      lab.namespaceOf('front').run(() => spawnTables()),
      /sidestep/,
    )
  })

  await t.test('a namespace that two pods claim is the first one’s; the second waits', async (t) => {
    const error = await n2.add('thief', NetworkNamespace.open(lab.namespaceOf('cart').path).fd)
    t.match(error, /NAMESPACE_SHARED/)
    t.equal(await answer(lab, 'front'), '220 cart\r\n')
    t.equal(await n2.ask({ case: 'del', value: { uid: 'thief' } }), '')
  })

  await t.test('an agent that breaks the protocol is told, counted and left; traffic goes on', async (t) => {
    const error = await n2.ask(SNAPSHOT)
    t.equal(error, 'the snapshot had ended')
    t.equal(await n2.next(), null)
    await poll(
      'counted',
      async () =>
        /^sidestep_zds_failures_total\{reason="ZDS_PROTOCOL"\} 1$/m.test(await metricsOf(lab, 'n2')) || null,
    )
    t.match(lab.log('n2'), /"reason":"ZDS_PROTOCOL","detail":"the snapshot had ended"/)
    t.equal(await answer(lab, 'front'), '220 cart\r\n')
    const again = await connect('n2')
    t.equal(await again.ask({ case: 'keep', value: { uid: 'cart' } }), '')
    t.equal(await again.ask(SNAPSHOT), '')
    await lab.ready('n2')
    t.match(await metricsOf(lab, 'n2'), /^sidestep_zds_synced 1$/m)
    t.equal(await answer(lab, 'front'), '220 cart\r\n')
  })
})
