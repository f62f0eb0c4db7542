// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { podFacts } from '../../../ztunnel/decide/pod-facts.ts'
import { nodeView, recordLine, shopMesh } from '../../support/node-views.ts'

const line = (fields: Readonly<Record<string, string | number>>): string =>
  recordLine({
    direction: 'outbound',
    reason: 'NO_ENDPOINT',
    'src.workload': 'front',
    'src.namespace': 'shop',
    ...fields,
  })

t.test('a pod is found by its name, and by no part of it', async (t) => {
  const view = nodeView('n1', shopMesh())
  for (const [name, count] of [
    ['front', 1],
    ['shop/front', 1],
    ['fron', 0],
    ['other/front', 0],
    ['cart', 0],
  ] as const)
    t.equal(podFacts(view, name).length, count, name)
})

t.test('its failures are its own, the last fifty, oldest first', async (t) => {
  const records = [
    ...Array.from({ length: 60 }, (_, index) => line({ detail: `${index}` })),
    line({ 'src.workload': 'batch' }),
    line({ reason: 'OK' }),
    'no record',
    '',
    line({
      direction: 'inbound',
      'src.workload': 'x',
      'dst.addr': '10.1.0.1:8080',
      detail: 'in',
      'src.identity': 'spiffe://x',
    }),
  ]
  const [facts] = podFacts(nodeView('n1', shopMesh(), { records }), 'front')
  t.equal(facts?.failures.length, 50)
  t.strictSame([facts?.failures[0]?.detail, facts?.failures[48]?.detail], ['11', '59'])
  t.match(facts?.failures[49], {
    detail: 'in',
    peer: 'spiffe://x',
    code: 'NO_ENDPOINT',
    fix: /check its pods/,
  })
})

t.test('one that is enrolled but not configured is told as such', async (t) => {
  const pods = [{ uid: 'u', name: 'ghost', namespace: 'shop', serviceAccount: 'ghost' }]
  t.match(podFacts(nodeView('n1', shopMesh(), { pods }), 'ghost'), [
    { workload: null, services: [], policies: [] },
  ])
})
