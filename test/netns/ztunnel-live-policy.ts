// SPDX-License-Identifier: Apache-2.0
// Connections that stand when a policy, or the workload it is about, changes: each is asked again, and goes on or is cut as a
// new one would be let in or not. Waypoints: ztunnel-divert.ts; revoked certificates: ztunnel-revocation.ts.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, type LabRecord, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const GREETER = 9001
/** Selects nothing until a workload names it, forbids nothing that anybody does. */
const UNNAMED =
  '- {name: unnamed, namespace: shop, scope: WorkloadSelector, action: Deny, dryRun: false, ' +
  'rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/front]}]]]}\n'
const HARMLESS =
  '- {name: harmless, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{destinationPorts: [1]}]]]}\n'
const GOOD = labMesh([]) + UNNAMED + HARMLESS

const policy = (match: string, more = 'scope: Namespace, action: Deny, dryRun: false'): string =>
  `${GOOD}- {name: new, namespace: shop, ${more}, rules: [[[${match}]]]}\n`
const of = (name: string): string => `{principals: [!Exact cluster.local/ns/shop/sa/${name}]}`
const ALLOW = 'scope: Namespace, action: Allow, dryRun: false'
const cart = (change: string): string => GOOD.replace(/(uid: cart, )/, `$1${change}, `)

type Fate = 'cut' | 'goes on'
/** What changes, and what becomes of front in its tunnel and of the stranger in plain text. */
const ROWS: readonly (readonly [string, string, Fate, Fate])[] = [
  ['a policy of the namespace', policy(of('front')), 'cut', 'goes on'],
  [
    'a policy of the whole mesh',
    policy(of('front'), 'scope: Global, action: Deny, dryRun: false'),
    'cut',
    'goes on',
  ],
  ['a policy about a namespace', policy('{namespaces: [!Exact shop]}'), 'cut', 'goes on'],
  ['a policy about an address', policy('{sourceIps: [10.1.0.3/32]}'), 'goes on', 'cut'],
  ['a policy about the port', policy(`{destinationPorts: [${GREETER}]}`), 'cut', 'cut'],
  ['a policy about another port', policy('{destinationPorts: [8080]}'), 'goes on', 'goes on'],
  ['plain text is refused', policy('{notPrincipals: [!Presence []]}'), 'goes on', 'cut'],
  ['only one is allowed', policy(of('front'), ALLOW), 'goes on', 'cut'],
  ['nobody is allowed', policy(of('nobody'), ALLOW), 'cut', 'cut'],
  [
    'a policy that is only tried',
    policy(of('front'), 'scope: Namespace, action: Deny, dryRun: true'),
    'goes on',
    'goes on',
  ],
  ['a policy says something else', GOOD.replace('{destinationPorts: [1]}', of('front')), 'cut', 'goes on'],
  ['the workload names a policy', cart('authorizationPolicies: [shop/unnamed]'), 'cut', 'goes on'],
  [
    'the workload gets another identity',
    GOOD.replace(/(uid: cart,.*?trustDomain: )cluster.local/, '$1other.example'),
    'cut',
    'cut',
  ],
  ['the workload gets another revision', cart('canonicalRevision: v2'), 'goes on', 'goes on'],
  ['the workload is not configured any more', GOOD.replace(/- \{uid: cart,.*\n/, ''), 'goes on', 'goes on'],
]

async function open(lab: MeshLab, pod: LabPod): Promise<LabSocket> {
  const socket = lab.connect(pod, CART_IP, GREETER)
  await socket.until('the greeting', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  return socket
}

async function echoes(socket: LabSocket, word: string): Promise<boolean> {
  socket.write(word)
  await socket.until(word, ({ text, isClosed }) => text.endsWith(word) || isClosed)
  return socket.text.endsWith(word)
}

/** Puts a configuration in force in all workers of both nodes: a caller's that does not know cart goes there in plain text. */
async function configure(lab: MeshLab, mesh: string): Promise<void> {
  const versions = (): Promise<readonly number[]> => Promise.all((['n1', 'n2'] as const).map(version))
  const version = async (node: 'n1' | 'n2'): Promise<number> => {
    const { text } = await lab.admin(node, '/workers')
    const { model } = JSON.parse(text) as { model: { inForce?: { version?: number } | null } } // as: the route's answer
    return model.inForce?.version ?? 0
  }
  const before = await versions()
  await lab.configure(mesh)
  await poll('a new model in force', async () => {
    const now = await versions()
    return now.every((each, index) => each > (before[index] ?? 0)) || null
  })
}

async function isLetIn(lab: MeshLab): Promise<boolean> {
  const sockets = await Promise.all([open(lab, 'front'), open(lab, 'stranger')])
  for (const socket of sockets) socket.destroy()
  return sockets.every(({ text }) => text !== '')
}

t.setTimeout(240_000)
t.test('connections that stand when something changes', { timeout: 220_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), GOOD)
  t.teardown(() => lab.close())
  for (const [name, mesh, front, stranger] of ROWS)
    await t.test(`${name}: front ${front}, plain text ${stranger}`, async (t) => {
      const known = (await lab.records('n2')).length
      const sockets = [
        ['front', front, await open(lab, 'front')],
        ['stranger', stranger, await open(lab, 'stranger')],
      ] as const
      await configure(lab, mesh)
      for (const [, fate, socket] of sockets)
        if (fate === 'cut') await socket.until('the cut', ({ isClosed }) => isClosed)
      for (const [pod, fate, socket] of sockets)
        if (fate === 'goes on') t.ok(await echoes(socket, 'one'), `${pod} under what is new`)
      await configure(lab, GOOD)
      await poll('both are let in', async () => (await isLetIn(lab)) || null)
      for (const [pod, fate, socket] of sockets)
        if (fate === 'goes on') t.ok(await echoes(socket, 'two'), `${pod} is still there`)
      const count = sockets.filter(([, fate]) => fate === 'cut').length
      const isCut = ({ reason, direction }: LabRecord): boolean =>
        reason === 'POLICY_CHANGED' && direction === 'inbound'
      const cut = count === 0 ? [] : await lab.recordsAfter('n2', known, isCut)
      t.ok(cut.length <= count, 'nothing else was cut')
      for (const [, , socket] of sockets) socket.destroy()
    })

  await t.test('those of a generation that drains are asked again too', async (t) => {
    // Not the admin API's, which are the serving generation's.
    const file = join(lab.directory, 'records', 'n2')
    const written = (): readonly LabRecord[] =>
      (existsSync(file) ? readFileSync(file, 'utf8') : '')
        .split('\n')
        .flatMap((line) => (line.endsWith('}') ? [JSON.parse(line) as LabRecord] : [])) // as: our own lines
    const known = written().length
    const sockets = [await open(lab, 'front'), await open(lab, 'stranger'), await open(lab, 'batch')] as const
    for (const node of ['n1', 'n2'] as const) {
      lab.upgrade(node)
      await poll(`the change of generations of ${node}`, () =>
        lab.log(node).includes('the data process before drains') ? true : null,
      )
      await lab.ready(node)
    }
    await configure(lab, policy(of('batch'), ALLOW))
    const [front, stranger, batch] = sockets
    for (const socket of [front, stranger]) await socket.until('the cut', ({ isClosed }) => isClosed)
    t.ok(await echoes(batch, 'one'), 'who is allowed goes on')
    const isCut = ({ reason, direction }: LabRecord): boolean =>
      reason === 'POLICY_CHANGED' && direction === 'inbound'
    const cut = await poll('the records', () => {
      const found = written().slice(known).filter(isCut)
      return found.length === 2 ? found : null
    })
    t.same(
      cut.map((record) => record['src.workload'] ?? '').toSorted(),
      ['', 'front'],
      'who came in plain text has no name',
    )
    batch.destroy()
  })
})
