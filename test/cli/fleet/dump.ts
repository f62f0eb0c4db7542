// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import t from 'tap'
import { dump } from '../../../cli/commands/dump.ts'
import {
  DUMPED_PATHS,
  dumpNode,
  type FleetDump,
  readDump,
  takeDump,
  withoutSecrets,
} from '../../../cli/fleet/dump.ts'
import type { FleetNode } from '../../../cli/fleet/fleet.ts'
import { plainFleet } from '../../../cli/fleet/fleet.ts'
import type { PodActivity } from '../../../ztunnel/decide/pod-listeners.ts'
import { runCommand } from '../../support/cli-run.ts'
import { NOW_MS, nodeView, paperNode, recordLine, shopMesh } from '../../support/node-views.ts'

const KEY = '-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n'
const ACTIVITY: PodActivity = { listeners: [], counts: [], limited: { node: 1 } }
const asked = { source: 'front', destination: 'cart', port: 80 }

/** A node that serves its pages. */
function servingNode(name: 'n1' | 'n2', more: Readonly<Record<string, string>> = {}): FleetNode {
  const view = nodeView(name, shopMesh(), {
    activityOf: () => ACTIVITY,
    records: [
      recordLine({
        direction: 'outbound',
        reason: 'ENDPOINT_REFUSED',
        'src.addr': '10.1.0.1:1',
        'dst.addr': '10.2.0.1:8080',
      }),
    ],
  })
  const { state, certificateOf, records, eventsOf, ...node } = view
  const { workloads = [], services = [], policies = [] } = state ?? {}
  const pages: Readonly<Record<string, string>> = {
    '/node': JSON.stringify(node),
    '/config_dump': JSON.stringify({ version: { model: 1 }, workloads, services, policies }),
    '/connections': '[]',
    '/certificates': '[]',
    '/records': `${records.join('\n')}\n`,
    '/metrics': 'up 1\n',
    '/edges': '[]',
    '/drain': '{"isDraining":false,"connections":[]}',
    '/pod-activity': JSON.stringify({ 'u-cart': ACTIVITY }),
    '/events': JSON.stringify({ 'shop/cart': eventsOf({ ...CART }).map((line) => JSON.parse(line)) }),
    ...more,
  }
  return { ...paperNode(view), read: async (path) => pages[path] ?? '' }
}

const CART = { uid: 'u-cart', name: 'cart', namespace: 'shop', serviceAccount: 'cart-sa' }

async function written(t: Tap, nodes: readonly FleetNode[]): Promise<string> {
  const { output } = await runCommand(plainFleet(nodes), dump)
  return join(t.testdir({ 'a.json': output }), 'a.json')
}
type Tap = Pick<typeof t, 'testdir'>

t.test('a dump answers as the node it was taken of', async (t) => {
  const node = servingNode('n1')
  const file = await written(t, [node, servingNode('n2')])
  for (const path of [file, join(file, '..')]) {
    const [first, second] = await readDump(path)
    t.equal(await first?.name(), 'n1')
    t.strictSame(await first?.outbound(asked), await node.outbound(asked))
    t.strictSame(await first?.pod('cart'), [])
    t.match(await second?.pod('cart'), [{ limited: ACTIVITY.limited }])
    for (const each of DUMPED_PATHS) t.equal(await first?.read(each), await node.read(each))
    await t.rejects(async () => await first?.post('/logging?level=debug'), /needs a running node/)
    await t.rejects(async () => await first?.read('/quitquitquit'), /a dump has no/)
  }
})

t.test(
  'failures of a pod are told from its events; a dump without events has them from its records',
  async (t) => {
    const refused = recordLine({
      ...{ direction: 'inbound', reason: 'POLICY_DENY', 'dst.workload': 'cart', 'dst.namespace': 'shop' },
    })
    const serving = servingNode('n2', { '/records': refused, '/events': JSON.stringify({ 'shop/cart': [] }) })
    const taken = await takeDump([serving], NOW_MS)
    const failures = async (pages: Readonly<Record<string, string>>): Promise<unknown> => {
      const [facts] = await dumpNode({ label: 'n2', error: '', pages }).pod('cart')
      return facts?.failures.map(({ code }) => code)
    }
    const { '/events': _, ...before } = taken.nodes[0]?.pages ?? {}
    t.same(await failures(before), ['POLICY_DENY'])
    const { '/pod-activity': _activity, ...older } = before
    t.match(await dumpNode({ label: 'n2', error: '', pages: older }).pod('cart'), [{ listeners: null }])
    t.same(await failures({ ...before, '/events': '{}' }), [])
    t.same(await failures({ ...before, '/events': `{"shop/cart":[${refused}]}` }), ['POLICY_DENY'])
  },
)

t.test('no private key gets into a dump, whatever page had it', async (t) => {
  const base64 = Buffer.from(KEY).toString('base64')
  const page = JSON.stringify({
    raw: KEY,
    pem: base64,
    ec: KEY.replaceAll('PRIVATE', 'EC PRIVATE'),
    other: 'kept',
  })
  const taken = JSON.stringify(await takeDump([servingNode('n1', { '/metrics': page })], NOW_MS))
  t.notMatch(taken, /MIGHAgEAMBMGByqGSM49/)
  t.notOk(taken.includes(base64))
  t.match(taken, /kept/)
  const certificate = Buffer.from('-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n').toString(
    'base64',
  )
  t.equal(withoutSecrets(certificate), certificate, 'certificates stay')
  t.equal(withoutSecrets(KEY.slice(0, 40)), '(a private key)', 'also when it is cut')
})

t.test('a node that does not answer is in the dump with its error', async (t) => {
  const silent: FleetNode = {
    ...servingNode('n2'),
    read: async () => {
      throw new Error('n2 does not answer')
    },
  }
  const { output, talk, code } = await runCommand(plainFleet([servingNode('n1'), silent]), dump)
  t.equal(code, 0)
  t.match(talk, /n2 does not answer/)
  t.match(JSON.parse(output) as FleetDump, {
    nodes: [{ error: '' }, { label: 'n2', error: 'n2 does not answer' }],
  })
  t.equal((await runCommand(plainFleet([silent]), dump)).code, 3)
  const [, second] = await readDump(await written(t, [servingNode('n1'), silent]))
  await t.rejects(async () => await second?.outbound(asked), { exitCode: 3, message: /n2 does not answer/ })
})

t.test('what is no dump is said to be none', async (t) => {
  const directory = t.testdir({
    'text.json': 'no',
    'other.json': '{"kind":"other"}',
    'nodes.json': '{"kind":"sidestep-dump","version":1,"nodes":[{"label":1}]}',
    'next.json': '{"kind":"sidestep-dump","version":2,"nodes":[]}',
    'empty.json': '{"kind":"sidestep-dump","version":1,"nodes":[]}',
    'broken.json':
      '{"kind":"sidestep-dump","version":1,"nodes":[{"label":"a","error":"","pages":{"/config_dump":"{","/node":"1"}}]}',
    none: {},
  })
  for (const name of ['text', 'other', 'nodes', 'next'])
    await t.rejects(readDump(join(directory, `${name}.json`)), { exitCode: 2, message: /./ }, name)
  for (const name of ['empty.json', 'none', 'missing.json'])
    await t.rejects(readDump(join(directory, name)), { exitCode: 3, message: /./ }, name)
  const [broken] = await readDump(join(directory, 'broken.json'))
  await t.rejects(async () => await broken?.outbound(asked), { exitCode: 2, message: 'the dump is damaged' })
})
