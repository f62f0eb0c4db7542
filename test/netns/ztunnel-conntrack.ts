// SPDX-License-Identifier: Apache-2.0
// Connection tables that are really full: the node's, which is not that of the ztunnel's own network, and a pod's. Who is full
// is named and counted; nobody else is harmed. What fills them goes with its namespace.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { readConntrack } from '../../ztunnel/supervisor/conntrack-watch.ts'
import { fillConntrack } from '../support/fill-conntrack.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

t.setTimeout(180_000)
const FEW = 2_000
const max = Number(readFileSync('/proc/sys/net/netfilter/nf_conntrack_max', 'latin1'))
const directory = labDirectory(t)
const lab = await MeshLab.start(directory, labMesh([]), {}, async (lab) => ({
  // As in a cluster: the ztunnel is in a network of its own, the node is another one.
  n1: { SIDESTEP_HOST_NETWORK_PATH: lab.network.node('control').namespace.path },
  n2: {},
}))
t.teardown(() => lab.close())
const node = lab.network.node('control').namespace
node.run(() =>
  // Without a rule that asks for states nothing is tracked.
  spawnSync('nft', ['-f', '-'], {
    input: 'table inet track { chain o { type filter hook output priority 0; ct state new counter; }; }',
  }),
)
node.run(() => spawnSync('ip', ['link', 'set', 'lo', 'up']))

const count = (namespace: NetworkNamespace): number => namespace.run(readConntrack)?.entryCount ?? 0
const metrics = async (): Promise<string> => (await lab.admin('n1', '/metrics')).text
const metric = async (name: string): Promise<number> =>
  Number(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} (\\d+)$`, 'm').exec(await metrics())?.[1] ?? -1)
const full = () =>
  readFileSync(join(directory, 'n1.log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"reason":"CONNTRACK_FULL"'))
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>) // as: our own log
const isGreeted = async (pod: 'front' | 'batch'): Promise<boolean> => {
  const socket = lab.connect(pod, '10.2.0.1', 9001)
  await socket.until('an answer', ({ text, isClosed }) => text.endsWith('\r\n') || isClosed)
  socket.destroy()
  return socket.text === '220 cart\r\n'
}

t.test('the table of the node is told, not that of the ztunnel’s network', async (t) => {
  t.ok(max > 0, `${max} entries for each namespace`)
  await fillConntrack(node, FEW)
  t.ok(count(node) >= FEW)
  await poll('it is told', async () => (await metric('sidestep_conntrack_entries')) >= FEW || null)
  t.ok(count(lab.network.node('n1').namespace) < FEW, 'its own has nothing of that')
  t.equal(await metric('sidestep_conntrack_max_entries'), max)
  t.equal(await metric('sidestep_conntrack_lost_total'), 0)
  t.same(full(), [])
})

t.test('the node’s is full: named once, counted, and pods are not concerned', async (t) => {
  await fillConntrack(node, max + 500)
  const [first] = await poll('it is told', () => (full().length > 0 ? full() : null))
  t.match(first, { reason: 'CONNTRACK_FULL', maxEntries: max, fix: /nf_conntrack_max/ })
  t.equal(first?.pod, undefined)
  await poll('losses are counted', async () => (await metric('sidestep_conntrack_lost_total')) > 0 || null)
  t.notMatch(await metrics(), /^sidestep_pod_conntrack_/m)
  t.ok(await isGreeted('front'))
})

t.test('a pod’s is full: the pod is named, and no other is concerned', async (t) => {
  const known = full().length
  await fillConntrack(lab.namespaceOf('front'), max + 500)
  const told = await poll(
    'it is told',
    () =>
      full()
        .slice(known)
        .find(({ pod }) => pod === 'front') ?? null,
  )
  t.match(told, { uid: 'u-front', namespace: 'shop', maxEntries: max, fix: /nf_conntrack_max/ })
  const labels = '{namespace="shop",pod="front"}'
  await poll(
    'losses are counted',
    async () => (await metric(`sidestep_pod_conntrack_lost_total${labels}`)) > 0 || null,
  )
  t.ok((await metric(`sidestep_pod_conntrack_entries${labels}`)) > max * 0.9)
  t.notMatch(await metrics(), /^sidestep_pod_conntrack_entries\{namespace="shop",pod="batch"\}/m)
  t.ok(await isGreeted('batch'))
})
