// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ps } from '../../../cli/commands/ps.ts'
import { type FleetNode, plainFleet } from '../../../cli/fleet/fleet.ts'
import type { NodeView } from '../../../ztunnel/decide/node-view.ts'
import { type PodActivity, podListeners } from '../../../ztunnel/decide/pod-listeners.ts'
import { runCommand } from '../../support/cli-run.ts'
import { NOW_MS, nodeView, paperNode, recordLine, shopMesh } from '../../support/node-views.ts'

const NO_BATCH =
  '- {name: no-batch, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
  'rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/batch-sa]}]]]}'
const SOON = '- {name: soon, namespace: root, scope: Global, action: Allow, dryRun: true, rules: [[]]}'
const counted = { isPlaintext: false, reason: 'OK', opened: 0, failed: 0, receivedBytes: 20, sentBytes: 100 }
const ACTIVITY: PodActivity = {
  listeners: podListeners(
    [
      { ip: '0.0.0.0', port: 15_008, waitingCount: 0 },
      { ip: '127.0.0.1', port: 9000, waitingCount: 3 },
    ],
    {
      mesh: new Map([['inbound', 15_008]]),
      services: { 'shop/cart.shop.svc.cluster.local': { 80: 8080 } },
      isShared: false,
    },
  ),
  counts: [
    { ...counted, direction: 'inbound', isPlaintext: true, opened: 7 },
    { ...counted, direction: 'outbound', opened: 1 },
    { ...counted, direction: 'inbound', reason: 'POLICY_DENY', failed: 4, receivedBytes: 0, sentBytes: 0 },
  ],
  limited: { 'connection-rate': 2 },
}
const CART = 'spiffe://cluster.local/ns/shop/sa/cart-sa'
const refused = recordLine({
  ...{ direction: 'inbound', reason: 'POLICY_DENY', policy: 'shop/no-batch', detail: 'refused by a rule' },
  ...{ 'src.addr': '10.1.0.2:1', 'src.identity': 'spiffe://cluster.local/ns/shop/sa/batch-sa' },
  ...{ 'dst.addr': '10.2.0.1:8080', 'dst.workload': 'cart', 'dst.namespace': 'shop' },
})

/** A node that also serves its pages. */
function node(name: 'n1' | 'n2', changes: Partial<NodeView> = {}): FleetNode {
  const view = nodeView(name, shopMesh({ policies: `${NO_BATCH}\n${SOON}` }), changes)
  const pages: Readonly<Record<string, unknown>> = {
    '/node': { node: name, pods: view.pods, pending: view.pending },
    '/certificates': [
      {
        ...{ identity: CART, use: 'workload', state: 'Available', alarm: 'none', lastFailure: '' },
        certChain: [{ serialNumber: '7', expirationTime: new Date(NOW_MS + 86_400_000).toISOString() }],
        ...{ live: [{ worker: 0, serialNumber: '7', isAlarm: false }], tunnels: [] },
      },
    ],
    '/connections': [
      { uid: 'u-cart', direction: 'inbound', source: '10.1.0.1:5', ageMs: 1 },
      { uid: 'u-other' },
    ],
  }
  return { ...paperNode(view), read: async (path) => JSON.stringify(pages[path]) }
}

t.test('all pods are listed, and which of them wait', async (t) => {
  const { output, code } = await runCommand(
    plainFleet([node('n1', { pending: ['pod shop/batch'] }), node('n2')]),
    (io) => ps(io, undefined),
  )
  t.equal(code, 0)
  t.match(output, /^n1 +shop\/front +front-sa +served$/m)
  t.match(output, /^n1 +shop\/batch +batch-sa +waits$/m)
  t.match(output, /^n2 +shop\/cart +cart-sa +served$/m)
})

t.test(
  'all about one: identity, certificate, policies, listeners, connections, counts, failures with their fix',
  async (t) => {
    const fleet = plainFleet([
      node('n1'),
      node('n2', { records: [refused], mendedMs: { 'u-cart': NOW_MS }, activityOf: () => ACTIVITY }),
    ])
    const { output } = await runCommand(fleet, (io) => ps(io, 'shop/cart'))
    for (const line of [
      /^identity +spiffe:\/\/cluster\.local\/ns\/shop\/sa\/cart-sa$/m,
      /^services +shop\/cart\.shop\.svc\.cluster\.local$/m,
      /^redirection +mended at 2026-11-01T12:00:00\.000Z$/m,
      /^spiffe:.*cart-sa +workload +Available +1\.0 +1 of 1 workers +0 +7$/m,
      /^shop\/no-batch +Namespace +yes +refuses identity cluster\.local\/ns\/shop\/sa\/batch-sa$/m,
      /^root\/soon +Global +no, a dry run +would allow anybody$/m,
      /^15008 +mesh +listens +0 +0\.0\.0\.0 +inbound$/m,
      /^8080 +application +NOBODY LISTENS +0 +- +shop\/cart\.shop\.svc\.cluster\.local:80$/m,
      /^9000 +application +ONLY ON LOOPBACK +3 +127\.0\.0\.1 +-$/m,
      /^inbound +mTLS +POLICY_DENY +0 +4 +0 +0$/m,
      /^inbound +plain +OK +7 +0 +100 +20$/m,
      /^outbound +mTLS +OK +1 +0 +20 +100$/m,
      /^limits +2 refused by connection-rate$/m,
      /^inbound +10\.1\.0\.1:5 /m,
      /^2026-.* inbound +POLICY_DENY +spiffe:.*batch-sa +10\.2\.0\.1:8080 +shop\/no-batch +refused by a rule +a policy of the destination/m,
    ])
      t.match(output, line)
    t.notMatch(output, /u-other/)
    const { output: json } = await runCommand(fleet, (io) => ps(io, 'cart'), 'json')
    t.match(JSON.parse(json), {
      workload: { identity: CART },
      failures: [{ code: 'POLICY_DENY' }],
      connections: [{ uid: 'u-cart' }],
      listeners: [{ state: 'listens' }, { state: 'silent' }, { state: 'loopback-only' }],
      counts: ACTIVITY.counts,
    })
    const { output: unseen } = await runCommand(plainFleet([node('n2')]), (io) => ps(io, 'cart'))
    t.match(unseen, /^LISTENERS: not known$/m)
    t.match(unseen, /^COUNTED .*: none$/m)
  },
)

t.test('a name of nobody, and one of several', async (t) => {
  const fleet = plainFleet([node('n1'), node('n2')])
  await t.rejects(
    runCommand(fleet, (io) => ps(io, 'nobody')),
    { exitCode: 2, message: /serves a pod nobody/ },
  )
  const twins = plainFleet([node('n2'), node('n2')])
  await t.rejects(
    runCommand(twins, (io) => ps(io, 'cart')),
    { exitCode: 2, message: /say which/ },
  )
})
